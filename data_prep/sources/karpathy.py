"""Reader of the Karpathy JSON files: ``dataset_flickr8k.json``, ``dataset_flickr30k.json``, ``dataset_coco.json``."""

import json
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import canonical_split

from ..records import Caption, PrepError, RejectionLog, SourceImage, is_split_name
from .grouping import ImageGrouper

# COCO images that the Karpathy split adds to training.
_SPLIT_ALIASES = {"restval": "train"}
_FIX = "give a Karpathy file such as dataset_flickr8k.json"


def _load_entries(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PrepError(f"{path} is not usable JSON ({error}); {_FIX}") from error
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise PrepError(f'{path} has no list "images"; {_FIX}')
    return entries


def _problem(entry: Any) -> tuple[str, str] | None:
    """Category and reason why an entry cannot be used, or None."""
    if not isinstance(entry, dict):
        return "bad record", f"the entry is {type(entry).__name__}, not an object"
    for key, kind in (("filename", str), ("split", str), ("sentences", list)):
        if not isinstance(entry.get(key), kind) or not entry[key]:
            return "bad record", f'"{key}" is missing, empty or of the wrong type'
    if not isinstance(entry.get("filepath", ""), str):
        return "bad record", '"filepath" is not a string'
    if not is_split_name(entry["split"]):
        return "bad split name", f"split name {entry['split']!r}: only letters, digits, _ and - may be used"
    return None


def _image_path(entry: dict[str, Any]) -> str:
    folder = entry.get("filepath")
    return f"{folder}/{entry['filename']}" if folder else entry["filename"]


def read_karpathy(path: Path, log: RejectionLog) -> list[SourceImage]:
    """Read images, splits and raw sentences; ``restval`` becomes ``train``, ``val`` becomes ``valid``.

    Args:
        path: the JSON file. An entry's ``filepath``, where it has one, is joined with its ``filename``.
        log: takes the entries and sentences that cannot be used.

    Raises:
        PrepError: the file is not JSON or has no list of images.
        OSError: the file cannot be read.
    """
    grouper = ImageGrouper(log)
    for position, entry in enumerate(_load_entries(path)):
        problem = _problem(entry)
        if problem is not None:
            name = entry.get("filename") if isinstance(entry, dict) else None
            log.add(*problem, str(path), position, name if isinstance(name, str) else None)
            continue
        image = _image_path(entry)
        split = canonical_split(_SPLIT_ALIASES.get(entry["split"], entry["split"]))
        for sentence in entry["sentences"]:
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            if isinstance(raw, str):
                grouper.add(image, split, Caption(raw, str(path), position))
            else:
                log.add("bad record", 'a sentence has no text "raw"', str(path), position, image)
    return grouper.images()
