"""What became of every record of a hostile source."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from fairseq.data.indexed_dataset import MMapIndexedDataset
from hostile_archives import SAMPLES
from hostile_items import Item
from hostile_runs import CANARY_TEXT, Place

from data_prep.inspection.verify import verify_databin
from mvlm_plugin.data.databin import fields_prefix, images_path, names_prefix, pairs_path, text_prefix
from mvlm_plugin.data.image_index import ImageIndex
from mvlm_plugin.data.line_file import LineFile
from mvlm_plugin.data.tokenizers import load_tokenizer

Outcomes = Counter[tuple[str, str]]


class Stored(NamedTuple):
    """An image of a data-bin."""

    name: str
    data: bytes
    texts: list[str]


def stored_images(databin: Path) -> list[Stored]:
    """All images of a data-bin that has no shards."""
    manifest = json.loads((databin / "manifest.json").read_text())
    root = Path(manifest["image_root"]) if manifest["image_store"] == "reference" else None
    tokenizer = load_tokenizer(databin)
    found = []
    for split in manifest["splits"]:
        index, names = ImageIndex(images_path(databin, split), root), LineFile(names_prefix(databin, split))
        images = [Stored(names[number], index.read(number), []) for number in range(len(index))]
        owners = np.load(pairs_path(databin, split)).reshape(-1, manifest["splits"][split]["images_per_text"])[:, 0]
        tokens = MMapIndexedDataset(str(text_prefix(databin, split)))
        for caption, owner in enumerate(owners):
            images[owner].texts.append(tokenizer.decode(tokens[caption].tolist()))
        if manifest["splits"][split]["fields"]:
            fields = LineFile(fields_prefix(databin, split))
            for number in range(len(fields)):
                json.loads(fields[number], parse_constant=_no_json)
        found += images
    return found


def _no_json(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is stored as a label, which is no JSON")


def check_databin(items: list[Item], place: Place, same_bytes: bool) -> Outcomes:
    """A data-bin of a hostile source is sound, and nothing is missing without a word.

    Args:
        items: the records of the source.
        place: of the run.
        same_bytes: whether images are stored as they are.

    Returns:
        How many bad items of each kind were "stored" and "rejected".
    """
    assert verify_databin(place.databin, 1) == []
    manifest = json.loads((place.databin / "manifest.json").read_text())
    entries = _rejections(place, manifest)
    images = stored_images(place.databin)
    assert all(image.data != place.canary for image in images), "an image outside of the folder is stored"
    assert all(text != CANARY_TEXT for image in images for text in image.texts), (
        "a text outside of the folder is stored"
    )
    names = "\n".join(image.name for image in images)
    outcomes: Outcomes = Counter()
    for item in items:
        if item.kind:
            outcomes[item.kind, _outcome(item, entries, names)] += 1
        for number in item.survivors:
            assert str(number) in names, f"{item.kind}: image {number} is not stored"
    _check_good([item for item in items if not item.kind], images, same_bytes)
    return outcomes


def _rejections(place: Place, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    lines = (place.databin / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) == manifest["rejected"]["total"] == sum(manifest["rejected"]["by_reason"].values())
    for entry in entries:
        entry["position"] = next(entry[name] for name in ("line", "record", "row", "member") if name in entry)
        assert entry["source"].startswith(str(place.raw)), entry
        assert entry["reason"].strip(), entry
    return entries


def _is_reported(item: Item, entries: list[dict[str, Any]]) -> bool:
    number = str(item.number)
    for entry in entries:
        source = entry["source"].rpartition("/")[2]
        if item.source is not None:
            if source == item.source:
                return True
        elif (entry["source"], entry["position"]) in item.places or any(
            number in str(text) for text in (source, entry["position"], entry["image"])
        ):
            return True
    return False


def _outcome(item: Item, entries: list[dict[str, Any]], names: str) -> str:
    reported = _is_reported(item, entries)
    numbers = range(item.number, item.number + (1 if item.source is None else SAMPLES))
    stored = all(str(number) in names for number in numbers)
    assert reported or not item.must, f"{item.kind} is not listed: {item}"
    assert stored or item.must is not False, f"{item.kind} is not stored: {item}"
    assert stored or reported, f"{item.kind} is lost: {item}"
    return "rejected" if reported else "stored"


def _check_good(good: list[Item], images: list[Stored], same_bytes: bool) -> None:
    by_number: dict[int, Stored] = {}
    for image in images:
        by_number.update((int(digits), image) for digits in re.findall(r"[1-9]\d{5}", image.name) if image.texts)
    for item in good:
        image = by_number.get(item.number)
        assert image is not None, f"the good record {item.name} is lost"
        assert image.texts == [item.text]
        assert image.data == item.data or not same_bytes
