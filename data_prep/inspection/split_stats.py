"""Figures of one split of a data-bin, read in pieces: memory does not grow with captions or pixels."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.image_index import ImageReadError
from mvlm_plugin.data.images import FORMATS
from mvlm_plugin.data.tokenizers import CaptionTokenizer

from ..field_types import FieldTypes
from ..parallel import progress_bar
from ..similarity import DEFAULT_DISTANCE, NO_PERCEPTUAL
from .histogram import Distribution
from .looking import SplitImages

_PIECE = 1 << 20
_TOP = 20
_FORMAT_SAMPLE = 500
_NEAR_SAMPLE = 1000
_CONTENTS_AT_ONCE = 1 << 22
# Different values of a label field that are counted; a field of free text has no end of them.
_MAX_VALUES = 100_000


def split_stats(images: SplitImages, entry: dict[str, Any], tokenizer: CaptionTokenizer) -> dict[str, Any]:
    """The report's entry of a split; see stats.py.

    Args:
        images: the split, over all shards.
        entry: the manifest's entry of the split.
        tokenizer: of the data-bin.

    Raises:
        DataBinError: the split is damaged.
    """
    lengths, vocabulary = _caption_figures(images, tokenizer)
    return {
        "images": len(images),
        "captions": sum(map(len, images.stores)),
        "images_per_text": max(store.pairs[0].size for store in images.stores),
        "captions_per_image": _captions_per_image(images),
        "caption_tokens": lengths,
        "vocabulary": vocabulary,
        **_image_figures(images),
        "formats": _formats(images),
        "modes": entry.get("image_modes", {}),
        "duplicates": {"same_bytes": _repeated(images.hashes), "near": _near_estimate(images)},
        "fields": _fields(images),
    }


def _pieces(array: np.ndarray, size: int = _PIECE) -> Iterator[np.ndarray]:
    for start in range(0, len(array), size):
        yield np.asarray(array[start : start + size])


def _captions_per_image(images: SplitImages) -> dict[str, Any] | None:
    distribution = Distribution()
    for store in images.stores:
        counts = np.zeros(len(store.images), dtype=np.int32)
        for piece in _pieces(store.pairs):
            if piece.min() < 0 or piece.max() >= len(counts):
                raise DataBinError(f"the pairs of {store.folder} point outside its images; prepare the data again.")
            np.add.at(counts, piece.ravel(), 1)
        distribution.add(counts)
    return distribution.summary()


def _caption_figures(images: SplitImages, tokenizer: CaptionTokenizer) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Lengths of captions without </s>, and how often each entry of the dictionary is used."""
    dictionary = tokenizer.dictionary
    lengths = Distribution()
    counts = np.zeros(len(dictionary), dtype=np.int64)
    for store in images.stores:
        for sizes in _pieces(store.captions.sizes):
            lengths.add(sizes.astype(np.int64) - 1)
        for tokens in _pieces(np.memmap(f"{store.captions.prefix}.bin", store.captions.dtype, "r")):
            found = np.bincount(tokens.astype(np.int64), minlength=len(counts))
            if len(found) > len(counts):
                raise DataBinError(f"captions of {store.folder} do not fit its dictionary; prepare the data again.")
            counts += found
    unknown = int(counts[dictionary.unk()])
    total = int(counts.sum() - counts[dictionary.eos()])
    words = counts[dictionary.nspecial :]
    top = [int(i) + dictionary.nspecial for i in np.argsort(-words, kind="stable")[:_TOP] if words[i]]
    return lengths.summary(), {
        "dictionary": len(words),
        "used": int((words > 0).sum()),
        "tokens": total,
        "unknown_tokens": unknown,
        "unknown_rate": unknown / total if total else 0.0,
        "most_frequent": [
            {"id": i, "token": tokenizer.decode([i]) or f"symbol {dictionary[i]}", "count": int(counts[i])} for i in top
        ],
    }


def _image_figures(images: SplitImages) -> dict[str, Any]:
    width, height, kibibytes = Distribution(), Distribution(), Distribution(1)
    aspect, megapixels = Distribution(2), Distribution(2)
    total = 0
    for store in images.stores:
        for piece in _pieces(store.images.records):
            wide, high = piece["width"].astype(np.float64), piece["height"].astype(np.float64)
            width.add(wide)
            height.add(high)
            aspect.add(wide / np.maximum(high, 1))
            megapixels.add(wide * high / 1e6)
            kibibytes.add(piece["length"] / 1024)
            total += int(piece["length"].sum(dtype=np.int64))
    return {
        "width": width.summary(),
        "height": height.summary(),
        "aspect": aspect.summary(),
        "megapixels": megapixels.summary(),
        "bytes": total,
        "kibibytes": kibibytes.summary(),
    }


def _sample(count: int, size: int) -> list[int]:
    """At most ``size`` numbers below ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, size)).astype(np.int64)).tolist()


def _formats(images: SplitImages) -> dict[str, Any]:
    """Encodings of a sample of the images."""
    counts: Counter[str] = Counter()
    chosen = _sample(len(images), _FORMAT_SAMPLE)
    for index in chosen:
        try:
            with Image.open(io.BytesIO(images.read(index)), formats=FORMATS) as image:
                counts[str(image.format)] += 1
        except (ImageReadError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
            counts["unreadable"] += 1
    return {"sample": len(chosen), "counts": dict(counts.most_common())}


def _repeated(hashes: np.ndarray) -> int:
    """How many images have the bytes of one that comes before them."""
    parts = np.uint64(-(-len(hashes) // _CONTENTS_AT_ONCE))
    different = 0
    for part in range(int(parts)):
        contents = [piece["content"] for piece in _pieces(hashes)]
        chosen = np.concatenate([content[content[:, 0] % parts == part] for content in contents])
        different += len(np.unique(np.ascontiguousarray(chosen).view("V16")))
    return len(hashes) - different


def _near_estimate(images: SplitImages) -> dict[str, Any]:
    """Of a sample of the images, how many have a near-duplicate in the split; the same bytes count too."""
    sample = images.hashes["perceptual"][_sample(len(images), _NEAR_SAMPLE)]
    sample = sample[sample != NO_PERCEPTUAL]
    found = np.zeros(len(sample), dtype=np.int64)
    with progress_bar(len(images), f"near-duplicates of {images.split}", "image", scale=True) as bar:
        for piece in _pieces(images.hashes, 1 << 16):
            looks = np.ascontiguousarray(piece["perceptual"])
            looks = looks[looks != NO_PERCEPTUAL]
            for i, own in enumerate(sample):
                found[i] += np.count_nonzero(np.bitwise_count(looks ^ own) <= DEFAULT_DISTANCE)
            bar.update(len(piece))
    # Every image of the sample finds itself.
    return {"distance": DEFAULT_DISTANCE, "sample": len(sample), "with_near_duplicate": int((found > 1).sum())}


class _FieldValues:
    """How often a label field has each value; the elements of lists are counted one by one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.others = 0

    def add(self, value: Any) -> None:
        for single in value if isinstance(value, list) else [value]:
            key = json.dumps(single, sort_keys=True)
            if key in self.counts or len(self.counts) < _MAX_VALUES:
                self.counts[key] += 1
            else:
                self.others += 1


def _fields(images: SplitImages) -> dict[str, Any]:
    """The label fields: type, captions without, number of different values (None: too many), the most frequent ones."""
    values: dict[str, _FieldValues] = {}
    types = FieldTypes()
    stores = [store for store in images.stores if store.fields(0) is not None]
    if not stores:
        return {}
    with progress_bar(sum(map(len, stores)), f"label fields of {images.split}", "caption") as bar:
        for store in stores:
            for index in range(len(store)):
                fields = store.fields(index) or {}
                types.add(fields)
                for name, value in fields.items():
                    counted = values.setdefault(name, _FieldValues())
                    if value is not None:
                        counted.add(value)
                bar.update()
    return {
        name: {
            **entry,
            "different": None if values[name].others else len(values[name].counts),
            "most_frequent": [
                {"value": json.loads(key), "count": count} for key, count in values[name].counts.most_common(_TOP)
            ],
        }
        for name, entry in types.summary().items()
    }
