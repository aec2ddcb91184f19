"""Readers of raw sources. Each reads its own format and gives the same records: see SourceImage."""

from .karpathy import read_karpathy
from .tsv import read_tsv

__all__ = ["read_karpathy", "read_tsv"]
