"""Checks the files of one split of a data-bin against each other."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mvlm_plugin.data.byte_file import map_array
from mvlm_plugin.data.databin import (
    DICTIONARY,
    HASH,
    MANIFEST,
    DataBinError,
    fields_prefix,
    hashes_path,
    images_path,
    names_prefix,
    pairs_path,
    text_prefix,
)
from mvlm_plugin.data.image_index import ImageIndex, ImageReadError
from mvlm_plugin.data.images import BadImageError, decode_rgb
from mvlm_plugin.data.line_file import LineFile
from mvlm_plugin.data.token_file import TokenFile

from ..parallel import ordered_map, progress_bar

if TYPE_CHECKING:
    from fairseq.data import Dictionary

_CHUNK = 1 << 20


def _image_problem(position: int, index: ImageIndex, max_pixels: int) -> str | None:
    """What is wrong with one image, or None."""
    try:
        record = index.record(position)
        size = decode_rgb(index.read(position), max_pixels).size
    except ImageReadError as error:
        return str(error)
    except BadImageError as error:
        return f"image {position} of {index.path.name}: {error}"
    if size != (record.width, record.height):
        return f"image {position} of {index.path.name}: {size} pixels, the index says {record.width, record.height}"
    return None


def image_problems(folder: Path, split: str, manifest: dict[str, Any], max_pixels: int, workers: int) -> Iterator[str]:
    """Read and decode every image; compare index, hashes and names with the manifest."""
    root = Path(manifest["image_root"]) if manifest.get("image_store") == "reference" else None
    try:
        index = ImageIndex(images_path(folder, split), root)
        names = LineFile(names_prefix(folder, split))
    except DataBinError as error:
        yield str(error)
        return
    expected = manifest["splits"][split]["images"]
    for path, count in ((index.path, len(index)), (names_prefix(folder, split), len(names))):
        if count != expected:
            yield f"{path.name}: {count} images, the manifest says {expected}"
    yield from _hash_problems(hashes_path(folder, split), expected)
    if root is None:
        for number in range(index.containers):
            name = index.container(number).name
            if name not in manifest["files"]:
                yield f"{index.path.name}: its container {name} is not listed in {MANIFEST}"
    check = partial(_image_problem, index=index, max_pixels=max_pixels)
    results = ordered_map(check, range(len(index)), workers)
    with closing(results), progress_bar(len(index), f"verify {split}", "image") as bar:  # type: ignore[type-var]
        for problem in results:
            if problem is not None:
                yield problem
            bar.update()


def _hash_problems(path: Path, expected: int) -> Iterator[str]:
    try:
        hashes = map_array(path)
    except DataBinError as error:
        yield str(error)
        return
    if hashes.dtype != HASH or hashes.shape != (expected,):
        yield f"{path.name}: {hashes.dtype} array of shape {hashes.shape} for {expected} images"


def pair_problems(folder: Path, split: str, entry: dict[str, Any]) -> Iterator[str]:
    """Every caption must point at an image, and every image must have a caption."""
    path = pairs_path(folder, split)
    try:
        pairs = map_array(path)
    except DataBinError as error:
        yield str(error)
        return
    if pairs.dtype != np.int64 or pairs.ndim not in {1, 2}:
        yield f"{path.name}: {pairs.dtype} array of shape {pairs.shape}, not int64 of one or two dimensions"
        return
    if len(pairs) != entry["captions"]:
        yield f"{path.name}: {len(pairs)} captions, the manifest says {entry['captions']}"
    used = np.zeros(max(entry["images"], 1), dtype=bool)
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK].reshape(min(_CHUNK, len(pairs) - start), -1)
        outside = (chunk < 0) | (chunk >= entry["images"])
        for caption, column in np.argwhere(outside):
            image = chunk[caption, column]
            yield f"{path.name}: caption {start + caption} points at image {image} of {entry['images']}"
        used[chunk[~outside]] = True
    if pairs.ndim == 1:  # an image whose partner could not be used may be left alone
        for image in np.flatnonzero(~used[: entry["images"]]):
            yield f"{path.name}: image {image} has no caption"


def text_problems(folder: Path, split: str, entry: dict[str, Any], dictionary: "Dictionary") -> Iterator[str]:
    """Every caption must be made of the dictionary's tokens and end with </s>; label fields must be there for each."""
    prefix = text_prefix(folder, split)
    if not all(Path(f"{prefix}.{kind}").is_file() for kind in ("idx", "bin")):
        return
    try:
        captions = TokenFile(prefix)
        fields = LineFile(fields_prefix(folder, split)) if entry.get("fields") else None
    except DataBinError as error:
        yield str(error)
        return
    if fields is not None and len(fields) != entry["captions"]:
        yield f"{fields_prefix(folder, split).name}: {len(fields)} entries for {entry['captions']} captions"
    if len(captions) != entry["captions"]:
        yield f"{prefix.name}.idx: {len(captions)} captions, the manifest says {entry['captions']}"
    total = 0
    for caption in range(len(captions)):
        try:
            tokens = captions.tokens(caption)
        except DataBinError as error:
            yield str(error)
            continue
        total += len(tokens)
        if len(tokens) == 0 or tokens[-1] != dictionary.eos():
            yield f"{prefix.name}: caption {caption} does not end with </s>"
        if (tokens >= len(dictionary)).any():
            yield f"{prefix.name}: caption {caption} has a token beyond the {len(dictionary)} of {DICTIONARY}"
    if total != entry["tokens"]:
        yield f"{prefix.name}.bin: {total} tokens, the manifest says {entry['tokens']}"
