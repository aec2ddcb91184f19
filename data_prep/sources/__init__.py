"""Readers of raw sources: a module for each, with the command that prepares it."""

from . import (
    cc,
    coco,
    flickr30k,
    folder,
    karpathy,
    nlvr2,
    sbu,
    snli_ve,
    tables,
    tsv,
    visual_genome,
    vqa,
    webdataset,
)
from .base import SourceCommand

# As mvlm-prep lists them: general forms first, then data sets by name.
COMMANDS: list[SourceCommand] = [
    tsv.COMMAND,
    *tables.COMMANDS,
    folder.COMMAND,
    webdataset.COMMAND,
    karpathy.COMMAND,
    coco.COMMAND,
    flickr30k.COMMAND,
    visual_genome.COMMAND,
    sbu.COMMAND,
    cc.COMMAND,
    vqa.COMMAND,
    nlvr2.COMMAND,
    snli_ve.COMMAND,
]

__all__ = ["COMMANDS"]
