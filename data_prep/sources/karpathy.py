"""Reader of the Karpathy JSON files: ``dataset_flickr8k.json``, ``dataset_flickr30k.json``, ``dataset_coco.json``."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import canonical_split

from ..records import MAX_CAPTIONS, TOO_MANY_CAPTIONS, RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option
from .image_ids import coco_id, flickr_id
from .json_stream import items, record_key
from .splits import usable_split

# COCO images that the Karpathy split adds to training.
_SPLIT_ALIASES = {"restval": "train"}
_FIX = "give a Karpathy file such as dataset_flickr8k.json"


def _problem(entry: Any) -> tuple[str, str] | None:
    """Category and reason why an entry cannot be used, or None."""
    if not isinstance(entry, dict):
        return "bad record", f"the entry is {type(entry).__name__}, not an object"
    for key, kind in (("filename", str), ("split", str), ("sentences", list)):
        if not isinstance(entry.get(key), kind) or not entry[key]:
            return "bad record", f'"{key}" is missing, empty or of the wrong type'
    if len(entry["sentences"]) > MAX_CAPTIONS:
        return TOO_MANY_CAPTIONS
    if not isinstance(entry.get("filepath", ""), str):
        return "bad record", '"filepath" is not a string'
    split, reason = usable_split(entry["split"])
    return ("bad split name", reason) if split is None else None


def _ids(entry: dict[str, Any]) -> tuple[str, ...]:
    """COCO's number; without one the photo is from Flickr and named by its number there."""
    number = record_key(entry.get("cocoid"))
    found = f"coco:{number}" if number is not None else coco_id(entry["filename"]) or flickr_id(entry["filename"])
    return (found,) if found else ()


def read_karpathy(path: str, log: RejectionLog, scratch: Path) -> Iterator[Row]:
    """A row for each raw sentence; ``restval`` becomes ``train``, ``val`` becomes ``valid``.

    Args:
        path: the JSON file. An entry's ``filepath``, where it has one, is joined with its ``filename``.
        log: takes the entries and sentences that cannot be used.
        scratch: not used.

    Raises:
        PrepError: the file is not JSON or has no list of images.
        OSError: the file cannot be read.
    """
    for position, entry in enumerate(items(path, "images.item", _FIX)):
        problem = _problem(entry)
        if problem is not None:
            name = entry.get("filename") if isinstance(entry, dict) else None
            log.add(*problem, path, position, name if isinstance(name, str) else None)
            continue
        folder = entry.get("filepath")
        image = f"{folder}/{entry['filename']}" if folder else entry["filename"]
        split, ids = canonical_split(_SPLIT_ALIASES.get(entry["split"], entry["split"])), _ids(entry)
        for sentence in entry["sentences"]:
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            if isinstance(raw, str):
                yield Row((image,), split, raw, path, position, ids=ids)
            else:
                log.add("bad record", 'a sentence has no text "raw"', path, position, image)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", required=True, metavar="FILE",
        help="dataset_flickr8k.json, dataset_flickr30k.json, dataset_coco.json or alike; "
        "restval becomes train, val becomes valid",
    )  # fmt: skip
    add_images_option(
        parser,
        "folder (or URL) that the file names are relative to; for COCO the folder that holds train2014 and val2014",
    )


def _build(args: argparse.Namespace) -> TableSource:
    return TableSource(
        kind="karpathy", images=args.images, files={"json": args.json}, read=partial(read_karpathy, args.json)
    )


COMMAND = SourceCommand(
    name="karpathy",
    summary="Prepare Flickr8k, Flickr30k or COCO from their Karpathy-split JSON file.",
    example="mvlm-prep karpathy --json dataset_flickr8k.json --images images --dest data-bin/flickr8k",
    add_options=_add_options,
    build=_build,
)
