"""Joins what the parts have of one split into the files of a data-bin, in constant memory."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from mvlm_plugin.data.databin import (
    HASH,
    fields_prefix,
    hashes_path,
    images_path,
    names_prefix,
    pairs_path,
    text_prefix,
)
from mvlm_plugin.data.image_index import RECORD, ImageIndexWriter
from mvlm_plugin.data.line_file import LineFileWriter
from mvlm_plugin.data.token_file import TokenFileWriter

from .disk_table import open_database
from .field_types import FieldTypes
from .records import RejectionLog

_INTEGER = np.dtype("<i8")
NOT_STORED = -1


class PartSplit(NamedTuple):
    """What a part has of a split: prefix of its files, prefix of its encoded captions, its entry of the summary."""

    prefix: str
    text_prefix: str
    summary: dict[str, Any]


class Duplicates:
    """Finds images with the same bytes, on disk.

    Args:
        path: scratch file.
        policy: "merge", "drop" or "keep".
    """

    def __init__(self, path: Path, policy: str) -> None:
        self.policy = policy
        self.within = self.across = 0
        self._database = open_database(path)
        self._database.execute(
            "CREATE TABLE seen (content BLOB, split TEXT, image INTEGER, PRIMARY KEY (content, split)) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")

    def first(self, content: bytes, split: str, image: int) -> int:
        """Number of the image of the split to use for these bytes: this one, an earlier one, or NOT_STORED."""
        database = self._database
        other = database.execute("SELECT image, split FROM seen WHERE content = ?", (content,)).fetchall()
        same = [number for number, name in other if name == split]
        if len(same) < len(other):
            self.across += 1
            if self.policy == "drop":
                return NOT_STORED
        if not same:
            database.execute("INSERT INTO seen VALUES (?, ?, ?)", (content, split, image))
            return image
        self.within += 1
        return {"merge": same[0], "drop": NOT_STORED, "keep": image}[self.policy]

    def next_shard(self) -> None:
        """Images of the training split can be merged only within a data-bin."""
        if self.policy == "merge":
            self._database.execute("DELETE FROM seen WHERE split = 'train'")

    def close(self) -> None:
        """Close the scratch file."""
        self._database.close()


class _ArrayFile:
    """Writes an .npy file whose length is known only at the end."""

    def __init__(self, path: Path, dtype: npt.DTypeLike) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._spool: BinaryIO = open(f"{path}.spool", "w+b")  # noqa: SIM115 (closed by close())
        self._count = 0

    def extend(self, rows: np.ndarray) -> None:
        self._spool.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self._count += len(rows)

    def close(self, columns: int = 1) -> None:
        """columns: values of a row, where it is more than one; extend() then counts values."""
        shape = (self._count,) if columns == 1 else (self._count // columns, columns)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        self._spool.seek(0)
        with open(self._path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            shutil.copyfileobj(self._spool, file, 1 << 20)
        self._spool.close()
        os.unlink(self._spool.name)


class ImageMerger:
    """First pass: images, their index, hashes and names.

    Args:
        folder: the data-bin in the making.
        scratch: folder for the numbers that images got.
        split: name of the split.
        image_root: see Job.
        plan_numbers: filled with the number of each image of the plan; None where no text has several images.
    """

    def __init__(
        self, folder: Path, scratch: Path, split: str, image_root: str | None, plan_numbers: np.ndarray | None
    ) -> None:
        self.images = self.image_bytes = 0
        self.modes: Counter[str] = Counter()
        self.container_hashes: dict[str, str] = {}
        self._folder, self._scratch, self._split, self._root = folder, scratch, split, image_root
        self._plan_numbers = plan_numbers
        self._index = ImageIndexWriter(images_path(folder, split))
        self._hashes = _ArrayFile(hashes_path(folder, split), HASH)
        self._names = LineFileWriter(names_prefix(folder, split))

    def add(self, part: PartSplit, number: int, duplicates: Duplicates) -> None:
        """Take over the images of a part."""
        hashes = np.fromfile(f"{part.prefix}.hashes", dtype=HASH)
        contents = hashes["content"]
        numbers = np.empty(len(hashes), dtype=_INTEGER)
        stored = np.zeros(len(hashes), dtype=bool)
        for row in range(len(hashes)):
            numbers[row] = duplicates.first(contents[row].tobytes(), self._split, self.images)
            stored[row] = numbers[row] == self.images
            self.images += int(stored[row])
        self._take_images(part, stored)
        self._hashes.extend(hashes[stored])
        with open(f"{part.prefix}.names", encoding="utf-8", newline="\n") as names:
            self._names.extend(name.removesuffix("\n") for name in compress(names, stored))
        self.modes.update(part.summary["image_modes"])
        numbers.tofile(numbers_path(self._scratch, self._split, number))
        if self._plan_numbers is not None:
            self._plan_numbers[np.fromfile(f"{part.prefix}.plan_ids", dtype=_INTEGER)] = numbers

    def _take_images(self, part: PartSplit, stored: np.ndarray) -> None:
        records = np.fromfile(f"{part.prefix}.records", dtype=RECORD)[stored]
        used, records["container"] = np.unique(records["container"], return_inverse=True)
        if len(used) == 0:
            return
        containers = self._containers(part, set(used.tolist()))
        places = np.array([self._index.add_container(*container) for container in containers])
        records["container"] = places[records["container"]]
        self._index.extend(records)
        self.image_bytes += int(records["length"].sum())

    def _containers(self, part: PartSplit, used: set[int]) -> Iterator[tuple[str, int, int]]:
        """Name, size and modification time (0: not checked) of the part's containers that have stored images."""
        if self._root is None:
            count = len(self.container_hashes)
            name = f"{self._split}.images{f'.{count:03d}' if count else ''}.bin"
            _link(f"{part.prefix}.images.bin", self._folder / name)
            self.container_hashes[name] = part.summary["container_sha256"]
            yield name, part.summary["image_bytes"], 0
            return
        with open(f"{part.prefix}.containers", encoding="utf-8") as lines:
            for line in (line for number, line in enumerate(lines) if number in used):
                path, size, mtime_ns = json.loads(line)
                yield os.path.relpath(path, self._root), size, mtime_ns

    def close(self) -> None:
        """Complete the files."""
        self._index.close()
        self._hashes.close()
        self._names.close()


def _link(source: str, target: Path) -> None:
    """The same file under another name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def numbers_path(scratch: Path, split: str, number: int) -> Path:
    """Where the first pass leaves the numbers of a part's images."""
    return scratch / f"{split}.{number:06d}.numbers"


class TextMerger:
    """Second pass: captions, pairs and label fields.

    Args:
        folder, scratch, split: as for ImageMerger.
        dtype: of the stored tokens.
        unknown: id of the unknown token.
        plan_numbers: as ImageMerger filled it.
        images_per_text: columns of the pairs table.
    """

    def __init__(
        self, folder: Path, scratch: Path, split: str, dtype: npt.DTypeLike, unknown: int,
        plan_numbers: np.ndarray | None, images_per_text: int,
    ) -> None:  # fmt: skip
        self.captions = self.tokens = self.unknown_tokens = 0
        self.fields = FieldTypes()
        self._folder, self._scratch, self._split = folder, scratch, split
        self._dtype, self._unknown = np.dtype(dtype), unknown
        self._plan_numbers, self._columns = plan_numbers, images_per_text
        self._token_file = TokenFileWriter(text_prefix(folder, split), dtype)
        self._pairs = _ArrayFile(pairs_path(folder, split), _INTEGER)
        self._field_lines: LineFileWriter | None = None

    def add(self, part: PartSplit, number: int, log: RejectionLog) -> None:
        """Take over the captions of a part; log those whose image is not stored."""
        numbers = np.fromfile(numbers_path(self._scratch, self._split, number), dtype=_INTEGER)
        pairs = self._pair_rows(part, numbers)
        kept = (pairs != NOT_STORED).all(axis=1)
        self._pairs.extend(pairs[kept].ravel())
        sizes = np.fromfile(f"{part.text_prefix}.sizes", dtype="<i4")
        tokens = np.fromfile(f"{part.text_prefix}.tokens", dtype=self._dtype)[np.repeat(kept, sizes)]
        self._token_file.extend(tokens, sizes[kept])
        self.captions += int(kept.sum())
        self.tokens += len(tokens)
        self.unknown_tokens += int((tokens == self._unknown).sum())
        if os.path.exists(f"{part.prefix}.fields"):
            self._add_fields(f"{part.prefix}.fields", kept)
        if not kept.all():
            _log_dropped(part, pairs, log)

    def _pair_rows(self, part: PartSplit, numbers: np.ndarray) -> np.ndarray:
        """(captions, images of a text) int64: numbers of the images, NOT_STORED for those that are not there."""
        first = numbers[np.fromfile(f"{part.prefix}.owners", dtype=_INTEGER)][:, None]
        if self._plan_numbers is None:
            return first
        with open(f"{part.prefix}.more", encoding="utf-8") as lines:
            more = np.array([json.loads(line) for line in lines], dtype=_INTEGER).reshape(-1, self._columns - 1)
        return np.concatenate([first, self._plan_numbers[more]], axis=1)

    def _add_fields(self, path: str, kept: np.ndarray) -> None:
        if self._field_lines is None:
            self._field_lines = LineFileWriter(fields_prefix(self._folder, self._split))
        with open(path, encoding="utf-8", newline="\n") as lines:
            for line in compress(lines, kept):
                self.fields.add(json.loads(line))
                self._field_lines.add(line.removesuffix("\n"))

    def close(self) -> None:
        """Complete the files."""
        self._token_file.close()
        self._pairs.close(self._columns)
        if self._field_lines is not None:
            self._field_lines.close()


def _log_dropped(part: PartSplit, pairs: np.ndarray, log: RejectionLog) -> None:
    owners = np.fromfile(f"{part.prefix}.owners", dtype=_INTEGER)
    names = _lines(f"{part.prefix}.names")
    for row, (origin, caption) in enumerate(
        zip(_lines(f"{part.prefix}.origins"), _lines(f"{part.prefix}.captions"), strict=True)
    ):
        if (pairs[row] != NOT_STORED).all():
            continue
        source, position = json.loads(origin)
        if pairs[row, 0] == NOT_STORED:
            category, reason = "duplicate image", "another image has the same bytes"
        else:
            category, reason = "second image", "another image of the text cannot be used"
        log.add(category, reason, source, position, names[owners[row]], caption)


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.removesuffix("\n") for line in file]
