"""The pairs of one split as they lie in a data-bin, opened at the same small cost for any number of pairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .byte_file import ByteFile, map_array
from .databin import (
    HASH,
    DataBinError,
    fields_prefix,
    find_split,
    hashes_path,
    images_path,
    names_prefix,
    pairs_path,
    read_manifest,
    text_prefix,
)
from .image_index import ImageIndex
from .line_file import LineFile
from .token_file import TokenFile

_FIX = "check the folder with mvlm-prep verify, or prepare the data again."


class PairStore:
    """Random access to the pairs of one split: only what is asked for is read, and processes share the pages.

    Args:
        folder: the data-bin.
        split: name of a split, or an alias of it.

    Attributes:
        name: the split's stored name.
        images: the encoded images.
        captions: the tokens of the captions.
        pairs: (captions,) or (captions, K) integers, memory-mapped: caption -> image or images, not checked.
        hashes: (images,) of type databin.HASH, memory-mapped.
        names: of the images in their source.

    Raises:
        DataBinError: the split is missing, its files do not fit together, or its images changed since preparation.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = folder
        self.name = find_split(folder, split)
        manifest = read_manifest(folder)
        root = Path(manifest["image_root"]) if manifest.get("image_store") == "reference" else None
        self.images = ImageIndex(images_path(folder, self.name), root)
        self.captions = TokenFile(text_prefix(folder, self.name))
        pairs = map_array(pairs_path(folder, self.name))
        self.pairs = np.asarray(pairs)
        self._pairs_file = ByteFile(pairs_path(folder, self.name))
        self._pairs_at = pairs.offset
        self.hashes = np.asarray(map_array(hashes_path(folder, self.name)))
        self.names = LineFile(names_prefix(folder, self.name))
        has_fields = bool(manifest["splits"][self.name].get("fields"))
        self._fields = LineFile(fields_prefix(folder, self.name)) if has_fields else None
        self._check()

    def _check(self) -> None:
        """Sizes and types; single entries are checked when they are read."""
        captions, images, pairs = len(self.captions), len(self.images), self.pairs
        where = f"of split {self.name} of {self.folder}"
        if pairs.ndim not in {1, 2} or len(pairs) != captions or not np.issubdtype(pairs.dtype, np.integer):
            problem = f"the pairs table {where} has shape {pairs.shape} and type {pairs.dtype} for {captions} captions"
        elif pairs.size == 0 or not pairs.flags.c_contiguous:
            problem = f"the pairs table {where} is empty, or stored by columns"
        elif self.hashes.shape != (images,) or self.hashes.dtype != HASH:
            problem = f"the hashes {where} have shape {self.hashes.shape} for {images} images, or another type"
        elif len(self.names) != images:
            problem = f"{len(self.names)} names {where} are given for {images} images"
        elif self._fields is not None and len(self._fields) != captions:
            problem = f"{len(self._fields)} label fields {where} are given for {captions} captions"
        else:
            return
        raise DataBinError(f"{problem}; {_FIX}")

    def __len__(self) -> int:
        return len(self.captions)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "split": self.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def images_of(self, index: int) -> list[int]:
        """The image or K images of caption ``index``. Raises IndexError.

        Raises:
            DataBinError: the table points outside the images.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there is no caption {index}, split {self.name} has {len(self)}")
        row = np.dtype((self.pairs.dtype, self.pairs.shape[1:]))
        images = self._pairs_file.entries(self._pairs_at, row, index).flatten().tolist()
        if min(images) < 0 or max(images) >= len(self.images):
            raise DataBinError(
                f"caption {index} of split {self.name} of {self.folder} points to image {images}, "
                f"there are {len(self.images)}; {_FIX}"
            )
        return images

    def tokens(self, index: int, bos: int, limit: int) -> np.ndarray:
        """(L,) int64: <s>, the caption, </s>; the middle cut to at most ``limit`` tokens in all."""
        stored = self.captions.tokens(index).astype(np.int64)
        if len(stored) + 1 > limit:
            stored = np.concatenate([stored[: limit - 2], stored[-1:]])
        return np.concatenate([[bos], stored])

    def fields(self, index: int) -> dict[str, Any] | None:
        """The label fields of caption ``index``; None where the source has none. Raises IndexError.

        Raises:
            DataBinError: the entry is damaged.
        """
        if self._fields is None:
            return None
        try:
            fields = json.loads(self._fields[index])
        except (json.JSONDecodeError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise DataBinError(f"the label fields of caption {index} of {self.folder} are damaged; {_FIX}")
        return fields
