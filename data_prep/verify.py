"""Reads a whole data-bin again and names everything that is wrong with it."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, best_fitting_int_dtype

from mvlm_plugin.data.databin import (
    DICTIONARY,
    MANIFEST,
    REJECTED,
    DataBinError,
    images_path,
    pairs_path,
    read_manifest,
    text_prefix,
)
from mvlm_plugin.data.image_index import ImageIndex, ImageReadError
from mvlm_plugin.data.images import DEFAULT_MAX_PIXELS, BadImageError, decode_rgb
from mvlm_plugin.data.tokenizers import load_tokenizer

from .destination import file_sha256
from .parallel import ordered_map, progress_bar


def verify_databin(folder: Path, workers: int) -> list[str]:
    """Check manifest, file hashes, tokenizer, and every image, caption and pair.

    Args:
        folder: the data-bin.
        workers: processes that decode images.

    Returns:
        One line a problem, naming file, split or image; empty for a sound data-bin.
    """
    try:
        manifest = read_manifest(folder)
        problems = list(_manifest_problems(manifest))
    except DataBinError as error:
        return [str(error)]
    if problems:
        return problems
    problems.extend(_file_problems(folder, manifest["files"]))
    dictionary = None
    try:
        dictionary = load_tokenizer(folder).dictionary
        if len(dictionary) != manifest["tokenizer"]["vocab_size"]:
            recorded = manifest["tokenizer"]["vocab_size"]
            problems.append(f"{DICTIONARY}: {len(dictionary)} entries, the manifest says {recorded}")
    except DataBinError as error:
        problems.append(f"tokenizer: {error}")
    max_pixels = manifest.get("request", {}).get("max_pixels", DEFAULT_MAX_PIXELS)
    for split, entry in manifest["splits"].items():
        problems.extend(_image_problems(folder, split, manifest, max_pixels, workers))
        problems.extend(_pair_problems(folder, split, entry))
        if dictionary is not None:
            problems.extend(_text_problems(folder, split, entry, dictionary))
    return problems


def _manifest_problems(manifest: dict[str, Any]) -> Iterator[str]:
    """Missing or mistyped entries, and files of a split that the manifest does not list."""
    shape: dict[str, dict[str, type]] = {
        "files": {"bytes": int, "sha256": str},
        "splits": {"images": int, "captions": int, "tokens": int},
    }
    for key, fields in shape.items():
        entries = manifest.get(key)
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            yield f"{MANIFEST}: {key!r} is missing or damaged"
            return
        for name, entry in entries.items():
            if not all(isinstance(entry.get(field), kind) for field, kind in fields.items()):
                yield f"{MANIFEST}: the entry {name!r} of {key!r} is damaged"
    tokenizer = manifest.get("tokenizer")
    if not isinstance(tokenizer, dict) or not {"kind", "vocab_size"} <= set(tokenizer):
        yield f"{MANIFEST}: 'tokenizer' is missing or damaged"
    expected = {DICTIONARY, REJECTED}
    for split in manifest["splits"]:
        expected |= {f"{split}.text.bin", f"{split}.text.idx", f"{split}.images.idx", f"{split}.pairs.npy"}
    for name in sorted(expected - set(manifest["files"])):
        yield f"{MANIFEST}: the file {name} is not listed"


def _file_problems(folder: Path, files: dict[str, dict[str, Any]]) -> Iterator[str]:
    with progress_bar(len(files), "verify files", "file") as bar:
        for name, entry in files.items():
            path = folder / name
            if name != path.name or not path.is_file():
                yield f"{name}: the file is missing"
            elif path.stat().st_size != entry["bytes"]:
                yield f"{name}: {path.stat().st_size} bytes, the manifest says {entry['bytes']}"
            elif file_sha256(path) != entry["sha256"]:
                yield f"{name}: its SHA-256 differs from the manifest, the file was changed"
            bar.update()


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


def _image_problems(folder: Path, split: str, manifest: dict[str, Any], max_pixels: int, workers: int) -> Iterator[str]:
    try:
        index = ImageIndex(images_path(folder, split))
    except DataBinError as error:
        yield str(error)
        return
    expected = manifest["splits"][split]["images"]
    if len(index) != expected:
        yield f"{index.path.name}: {len(index)} images, the manifest says {expected}"
    for name in index.containers:
        if name not in manifest["files"]:
            yield f"{index.path.name}: its container {name} is not listed in {MANIFEST}"
    check = partial(_image_problem, index=index, max_pixels=max_pixels)
    results = ordered_map(check, range(len(index)), workers)
    with closing(results), progress_bar(len(index), f"verify {split}", "image") as bar:  # type: ignore[type-var]
        for problem in results:
            if problem is not None:
                yield problem
            bar.update()


def _pair_problems(folder: Path, split: str, entry: dict[str, Any]) -> Iterator[str]:
    path = pairs_path(folder, split)
    try:
        pairs = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        yield f"{path.name}: cannot be read: {error}"
        return
    if pairs.dtype != np.int64 or pairs.ndim != 1:
        yield f"{path.name}: {pairs.dtype} array of shape {pairs.shape}, not int64 of one dimension"
        return
    if len(pairs) != entry["captions"]:
        yield f"{path.name}: {len(pairs)} captions, the manifest says {entry['captions']}"
    outside = (pairs < 0) | (pairs >= entry["images"])
    for caption in np.flatnonzero(outside):
        yield f"{path.name}: caption {caption} points at image {pairs[caption]} of {entry['images']}"
    used = np.bincount(pairs[~outside], minlength=entry["images"])
    for image in np.flatnonzero(used == 0):
        yield f"{path.name}: image {image} has no caption"


def _text_problems(folder: Path, split: str, entry: dict[str, Any], dictionary: Dictionary) -> Iterator[str]:
    prefix = text_prefix(folder, split)
    if not all(Path(f"{prefix}.{kind}").is_file() for kind in ("idx", "bin")):
        return
    try:
        dataset = MMapIndexedDataset(str(prefix))
        # A copy: the dataset unmaps its file when it goes.
        sizes = np.array(dataset.sizes, dtype=np.int64)
        tokens = np.fromfile(f"{prefix}.bin", dtype=best_fitting_int_dtype(len(dictionary)))
    except Exception as error:  # fairseq raises nearly every type on damaged files
        yield f"{prefix.name}.idx: cannot be read: {type(error).__name__}: {error}"
        return
    if len(sizes) != entry["captions"]:
        yield f"{prefix.name}.idx: {len(sizes)} captions, the manifest says {entry['captions']}"
    if sizes.sum() != len(tokens) or (sizes < 1).any():
        yield f"{prefix.name}.bin: {len(tokens)} tokens, its index says {sizes.sum()}"
        return
    ends = np.cumsum(sizes)
    if len(tokens) != entry["tokens"]:
        yield f"{prefix.name}.bin: {len(tokens)} tokens, the manifest says {entry['tokens']}"
    for caption in np.flatnonzero(tokens[ends - 1] != dictionary.eos()):
        yield f"{prefix.name}: caption {caption} does not end with </s>"
    for caption in np.unique(np.searchsorted(ends, np.flatnonzero(tokens >= len(dictionary)), side="right")):
        yield f"{prefix.name}: caption {caption} has a token beyond the {len(dictionary)} of {DICTIONARY}"
