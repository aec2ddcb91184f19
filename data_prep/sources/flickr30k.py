"""Reader of Flickr30k's own caption files: ``results.csv``, and ``.token`` as Flickr8k has it too."""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..records import PrepError, RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option
from .image_ids import flickr_id
from .splits import add_split_options, split_lookup, subset_of
from .text_lines import text_lines

_TOKEN_LINE = re.compile(r"([^\t]*[^\t\s])#\d+\t(.*)", re.ASCII | re.DOTALL)
_CSV_HEADER = re.compile(r"image_name\s*\|")


def _captions(path: str, log: RejectionLog) -> Iterator[tuple[int, str, str]]:
    """Line number, image and caption of each usable line; the first line decides which of the two formats it is."""
    token = None
    for line, text in text_lines(path, log):
        if text is None or not text.strip():
            continue
        if token is None:
            token = _TOKEN_LINE.fullmatch(text) is not None
            if not token and "|" not in text:
                raise PrepError(
                    f"{path}: line {line} is neither 'image| number| caption' (results.csv) nor "
                    "'image#number<TAB>caption' (.token); for 'image<TAB>caption' use mvlm-prep tsv"
                )
            if _CSV_HEADER.match(text):
                continue
        if token:
            match = _TOKEN_LINE.fullmatch(text)
            if match:
                yield line, match[1], match[2]
            else:
                log.add("malformed line", "expected image#number<TAB>caption", path, line)
            continue
        fields = [field.strip() for field in text.split("|", 2)]
        if len(fields) == 3 and fields[0]:
            yield line, fields[0], fields[2]
        else:
            reason = f"expected image| number| caption, found {len(fields)} fields" if fields[0] else "no image name"
            log.add("malformed line", reason, path, line, fields[0])


def read_flickr30k(captions: str, splits: str | None, subset: str, log: RejectionLog, scratch: Path) -> Iterator[Row]:
    """Rows in the order of the caption file.

    Args:
        captions: ``results.csv`` or ``results_20130124.token``.
        splits: file of ``image<TAB>split`` lines; None puts every image into subset.
        subset: split of every image where there is no splits file.
        log: takes the lines that cannot be used.
        scratch: folder for the table of splits.

    Raises:
        PrepError: the file has neither format, or cannot be opened.
        OSError: a file cannot be read.
    """
    with split_lookup(splits, subset, log, scratch) as split_of:
        for line, image, caption in _captions(captions, log):
            split = split_of(image)
            if split is None:
                log.add("no split", f"{splits} names no usable split for the image", captions, line, image, caption)
                continue
            found = flickr_id(image)
            yield Row((image,), split, caption, captions, line, ids=(found,) if found else ())


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--captions", required=True, metavar="FILE",
        help="results.csv ('image| number| caption') or results_20130124.token ('image#number<TAB>caption'; "
        "Flickr8k.token.txt too)",
    )  # fmt: skip
    add_images_option(parser, "folder (or URL) of the photos, flickr30k-images")
    add_split_options(parser)


def _build(args: argparse.Namespace) -> TableSource:
    subset = subset_of(args)
    return TableSource(
        kind="flickr30k",
        images=args.images,
        files={"captions": args.captions} | ({"splits": args.splits} if args.splits else {}),
        read=partial(read_flickr30k, args.captions, args.splits, subset),
        options={"subset": None if args.splits else subset},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="flickr30k",
    summary="Prepare Flickr30k from its own caption file; for the Karpathy splits see mvlm-prep karpathy.",
    example="mvlm-prep flickr30k --captions results.csv --images flickr30k-images --splits splits.tsv "
    "--dest data-bin/flickr30k",
    add_options=_add_options,
    build=_build,
)
