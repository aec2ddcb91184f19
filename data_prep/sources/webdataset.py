"""Command ``webdataset``: tar archives in which the members of a sample follow one another, as img2dataset writes."""

import argparse
import logging
import os
import re
from functools import partial

from ..files import is_remote
from ..records import PrepError
from .base import ArchiveSource, SourceCommand, split_and_path
from .img2dataset_failures import can_read_tables, table_beside
from .option_types import expanded, names_list
from .webdataset_samples import IMAGE_EXTENSIONS, JSON_PREFIX, SampleOptions, read_archive

_logger = logging.getLogger(__name__)
_EXTENSION = re.compile(r"[a-z0-9_.-]+")
_CAPTION_HELP = """where the captions are: the extension of a member (txt), or json:FIELD, a text or a list of texts.
Default: .txt, else "caption" or "captions" of the .json, else .caption or .text. Each line of a text member is a
caption, so five captions of an image are five lines; where the .json has the whole text as "caption", as img2dataset
writes it, the lines are one caption"""


def _caption_source(text: str) -> str:
    """Type of --caption-from."""
    if text.startswith(JSON_PREFIX) and text != JSON_PREFIX:
        return text
    extension = text.removeprefix(".").lower()
    if not _EXTENSION.fullmatch(extension) or extension in IMAGE_EXTENSIONS or extension == "json":
        raise argparse.ArgumentTypeError(f"{text!r}: give the extension of a text member, such as txt, or json:FIELD")
    return extension


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tars", required=True, action="append", type=split_and_path, metavar="[SPLIT=]PATTERN",
        help="archives (.tar, .tar.gz) of a split: 'cc3m/{00000..00331}.tar', 'valid=val/*.tar'; repeatable",
    )  # fmt: skip
    parser.add_argument("--caption-from", type=_caption_source, metavar="EXT|json:FIELD", help=_CAPTION_HELP)
    parser.add_argument(
        "--split-field",
        metavar="FIELD",
        help="field of the .json that names the split of each sample; --tars name none then",
    )
    parser.add_argument(
        "--fields", type=names_list, default=[], metavar="FIELD,...", help="fields of the .json to keep as labels"
    )


def _archives(patterns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Split and path of every archive. Raises PrepError where one is missing or is named twice."""
    archives = expanded(patterns)
    seen: set[str] = set()
    for _, path in archives:
        if not is_remote(path) and not os.path.isfile(path):
            raise PrepError(f"there is no archive {path}: check --tars")
        if path in seen:
            raise PrepError(f"{path} is named twice: let the patterns of --tars not overlap")
        seen.add(path)
    return archives


def _warn_of_unread_tables(archives: list[tuple[str, str]]) -> None:
    if can_read_tables():
        return
    tables = (table_beside(path) for _, path in archives)
    if any(table is not None and os.path.exists(table) for table in tables):
        _logger.warning(
            "the tables of img2dataset beside the archives are not read, so failed downloads will not be listed: "
            "pip install 'mvlm-plugin[parquet]'"
        )


def _build(args: argparse.Namespace) -> ArchiveSource:
    archives = _archives(args.tars)
    _warn_of_unread_tables(archives)
    return ArchiveSource(
        kind="webdataset",
        archives=archives,
        read=partial(read_archive, options=SampleOptions(args.caption_from, args.split_field, tuple(args.fields))),
        options={"caption_from": args.caption_from, "split_field": args.split_field, "fields": args.fields},
        can_reference=not any(path.endswith((".gz", ".tgz")) for _, path in archives),
    )


COMMAND = SourceCommand(
    name="webdataset",
    summary="Prepare webdataset archives, among them those that img2dataset writes.",
    example="mvlm-prep webdataset --tars 'cc3m/{00000..00331}.tar' --tars 'valid=cc3m-val/*.tar' --dest data-bin/cc3m",
    add_options=_add_options,
    build=_build,
)
