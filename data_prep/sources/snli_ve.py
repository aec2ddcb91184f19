"""Command ``snli-ve``: SNLI-VE, from its official JSON lines; the text is the hypothesis about a photo of Flickr30k."""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..records import RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option, split_and_path
from .json_lines import json_lines
from .option_types import files_by_role

_PHOTO = re.compile(r"\d{1,18}", re.ASCII)
# What SNLI writes where the annotators do not agree.
_NO_LABEL = "-"


def _problem(entry: dict[str, Any]) -> tuple[str, str] | None:
    """Category and reason why an entry cannot be used, or None."""
    photo = entry.get("Flickr30K_ID")
    if not isinstance(photo, str) or not _PHOTO.fullmatch(photo):
        return "bad record", 'it needs a "Flickr30K_ID" such as "4705552913"'
    for name in ("sentence2", "gold_label"):
        if not isinstance(entry.get(name), str):
            return "bad record", f'it has no text "{name}"'
    if entry["gold_label"] == _NO_LABEL:
        return "no gold label", "the annotators do not agree on a label"
    return None


def read_snli_ve(files: list[tuple[str, str]], log: RejectionLog, scratch: Path) -> Iterator[Row]:
    """Rows in the order of the files.

    Args:
        files: (split, file of JSON lines).
        log: takes lines that cannot be used, and those without a gold label.
        scratch: not needed.

    Raises:
        PrepError: a file has no JSON lines.
        OSError: a file cannot be read.
    """
    for split, path in files:
        for line, entry in json_lines(path, log):
            problem = _problem(entry)
            if problem is not None:
                text = entry.get("sentence2")
                log.add(*problem, path, line, caption=text if isinstance(text, str) else None)
                continue
            photo = entry["Flickr30K_ID"]
            fields = {"label": entry["gold_label"]}
            if isinstance(entry.get("pairID"), str):
                fields["pair_id"] = entry["pairID"]
            yield Row((f"{photo}.jpg",), split, entry["sentence2"], path, line, fields, (f"flickr:{int(photo)}",))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jsonl", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help="file of JSON lines; give it again for a further split: "
        "--jsonl snli_ve_train.jsonl --jsonl dev=snli_ve_dev.jsonl",
    )  # fmt: skip
    add_images_option(parser, "folder (or URL) of the photos of Flickr30k, flickr30k-images")


def _build(args: argparse.Namespace) -> TableSource:
    return TableSource(
        kind="snli-ve",
        images=args.images,
        files=files_by_role("jsonl", [path for _, path in args.jsonl]),
        read=partial(read_snli_ve, args.jsonl),
        options={"splits": [split for split, _ in args.jsonl]},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="snli-ve",
    summary="Prepare SNLI-VE from its official files and the photos of Flickr30k.",
    example="mvlm-prep snli-ve --jsonl snli_ve_train.jsonl --jsonl dev=snli_ve_dev.jsonl "
    "--images flickr30k-images --dest data-bin/snli-ve",
    add_options=_add_options,
    build=_build,
)
