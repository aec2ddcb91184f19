"""Reader of tab-separated captions: ``image<TAB>caption`` lines, and ``image<TAB>split`` lines for the splits."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..records import RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option
from .option_types import names_list
from .splits import add_split_options, split_lookup, subset_of
from .text_lines import image_rows


def read_tsv(
    captions: str, splits: str | None, subset: str, fields: list[str], log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows in the order of the captions file.

    Args:
        captions: file of ``image<TAB>caption`` lines, no header.
        splits: file of ``image<TAB>split`` lines; None puts every image into subset.
        subset: split of every image where there is no splits file.
        fields: names of the columns after the caption, which become label fields (strings).
        log: takes the lines that cannot be used.
        scratch: folder for the table of splits.

    Raises:
        PrepError, OSError: a file cannot be read.
    """
    hint = "; name the further columns with --fields"
    with split_lookup(splits, subset, log, scratch) as split_of:
        for line, (image, caption, *labels) in image_rows(captions, 2 + len(fields), log, hint):
            split = split_of(image)
            if split is None:
                reason = f"{splits} names no usable split for the image"
                log.add("no split", reason, captions, line, image, caption)
                continue
            values = dict(zip(fields, labels, strict=True)) if fields else None
            yield Row((image,), split, caption, captions, line, values)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--captions", required=True, metavar="FILE",
        help="UTF-8 lines 'image<TAB>caption' without header; an image may have several lines",
    )  # fmt: skip
    add_images_option(parser)
    add_split_options(parser)
    parser.add_argument(
        "--fields", type=names_list, default=[], metavar="NAME,NAME",
        help="names of further columns after the caption, stored as label fields: 'answer' for lines "
        "'image<TAB>question<TAB>answer'; every line must have them all",
    )  # fmt: skip


def _build(args: argparse.Namespace) -> TableSource:
    subset = subset_of(args)
    return TableSource(
        kind="tsv",
        images=args.images,
        files={"captions": args.captions} | ({"splits": args.splits} if args.splits else {}),
        read=partial(read_tsv, args.captions, args.splits, subset, args.fields),
        options={"subset": None if args.splits else subset, "fields": args.fields},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="tsv",
    summary="Prepare images whose captions are lines of a tab-separated file.",
    example="mvlm-prep tsv --captions captions.tsv --splits splits.tsv --images images --dest data-bin/my-set",
    add_options=_add_options,
    build=_build,
)
