"""Command ``nlvr2``: NLVR2, from its official JSON lines; the text is a statement about two photos."""

import argparse
import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..records import RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option, split_and_path
from .image_layout import add_image_name_option, check_image_name, has_folder
from .json_lines import json_lines
from .option_types import files_by_role

_OFFICIAL = "{set}/{directory}/{pair}-img{side}.png"
# train-10171-0-0: the part of the set, a set of photos, a pair of them, a statement.
_IDENTIFIER = re.compile(r"([a-z0-9]{1,20})-\d{1,12}-\d{1,12}-\d{1,12}", re.ASCII)
_LABELS = ("True", "False")
_MAX_DIRECTORY = 10**9


def _problem(entry: dict[str, Any]) -> str | None:
    """Why an entry cannot be used, or None."""
    if not isinstance(entry.get("identifier"), str) or not _IDENTIFIER.fullmatch(entry["identifier"]):
        return 'it needs an "identifier" such as train-10171-0-0'
    if not isinstance(entry.get("sentence"), str):
        return 'it has no text "sentence"'
    if entry.get("label", "True") not in _LABELS:
        return 'its "label" is neither "True" nor "False"'
    directory = entry.get("directory", 0)
    if type(directory) is not int or not 0 <= directory < _MAX_DIRECTORY:
        return 'its "directory" is no number'
    return None


def read_nlvr2(
    files: list[tuple[str, str]], images: str, image_name: str | None, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows in the order of the files, each with a left and a right image.

    Args:
        files: (split, file of JSON lines).
        images: the images folder.
        image_name: pattern of --image-name; None: the official names.
        log: takes lines that cannot be used.
        scratch: not needed.

    Raises:
        PrepError: a file has no JSON lines.
        OSError: a file cannot be read.
    """
    in_folder = cache(partial(has_folder, images))
    for split, path in files:
        for line, entry in json_lines(path, log):
            problem = _problem(entry)
            if problem is not None:
                log.add("bad record", problem, path, line)
                continue
            part = entry["identifier"].partition("-")[0]
            pattern = image_name or (_OFFICIAL if in_folder(part) else _OFFICIAL.removeprefix("{set}/"))
            names = {
                "set": part,
                "directory": entry.get("directory", ""),
                "pair": entry["identifier"].rpartition("-")[0],
            }
            left, right = (_collapsed(pattern.format(**names, side=side)) for side in (0, 1))
            fields = {name: value for name, value in entry.items() if name in ("identifier", "label")}
            yield Row((left, right), split, entry["sentence"], path, line, fields)


def _collapsed(path: str) -> str:
    """A path without the empty parts of an entry that has no directory."""
    return "/".join(part for part in path.split("/") if part)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help="file of JSON lines; give it again for a further split: --json train.json --json dev=dev.json",
    )  # fmt: skip
    add_images_option(parser, "folder (or URL) that holds train, dev and test1, or one of these")
    add_image_name_option(parser, f"{_OFFICIAL}, without what an entry or the folder does not have")


def _build(args: argparse.Namespace) -> TableSource:
    check_image_name(args.image_name, {"set": "train", "directory": 38, "pair": "train-10171-0", "side": 0})
    return TableSource(
        kind="nlvr2",
        images=args.images,
        files=files_by_role("json", [path for _, path in args.json]),
        read=partial(read_nlvr2, args.json, args.images, args.image_name),
        options={"splits": [split for split, _ in args.json], "image_name": args.image_name},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="nlvr2",
    summary="Prepare NLVR2, whose statements have two photos each, from its official files.",
    example="mvlm-prep nlvr2 --json train.json --json dev=dev.json --images images --dest data-bin/nlvr2",
    add_options=_add_options,
    build=_build,
)
