"""The image index: where each encoded image lies, as byte ranges of container files.

Layout of ``SPLIT.images.idx`` (little endian)::

    header   64 bytes: magic "MVLMIMG1", u64 image count, u64 offset of the container list, padding
    records  32 bytes an image: u32 container, u32 length, u64 offset, u32 width, u32 height, u32 crc32, u32 zero
    tail     UTF-8 JSON: list of container file names, relative to the index's folder

Opening maps the records: it costs the same for a thousand images as for ten million. Reading an image
is one ``pread``, safe from any number of processes and threads.
"""

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .databin import DataBinError

MAGIC = b"MVLMIMG1"
HEADER = struct.Struct("<8sQQ40x")
RECORD = np.dtype(
    [
        ("container", "<u4"),
        ("length", "<u4"),
        ("offset", "<u8"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("crc32", "<u4"),
        ("zero", "<u4"),
    ]
)
MAX_IMAGE_BYTES = 2**32 - 1


class ImageReadError(RuntimeError):
    """The stored bytes of an image cannot be had: container missing, truncated, or checksum wrong."""


class ImageRecord(NamedTuple):
    """Where an image's bytes lie. width and height are pixels after EXIF orientation."""

    container: int
    offset: int
    length: int
    width: int
    height: int
    crc32: int


class ImageIndexWriter:
    """Writes an index record by record, in constant memory. Call close() to make the file valid."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 (closed by close())
        self._file.write(bytes(HEADER.size))
        self._count = 0

    def add(self, record: ImageRecord) -> None:
        """Append one image."""
        row = np.array(
            [(record.container, record.length, record.offset, record.width, record.height, record.crc32, 0)],
            dtype=RECORD,
        )
        self._file.write(row.tobytes())
        self._count += 1

    def close(self, containers: list[str]) -> None:
        """Write the container names and, last of all, the header."""
        tail = self._file.tell()
        self._file.write(json.dumps(containers).encode())
        self._file.seek(0)
        self._file.write(HEADER.pack(MAGIC, self._count, tail))
        self._file.close()


def _read_header(path: Path) -> tuple[int, list[str]]:
    """Image count and container names; every field of the file is checked against its size."""
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            magic, count, tail = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC:
                raise DataBinError(f"{path} is not an image index of this version (magic {magic!r}).")
            if tail != HEADER.size + count * RECORD.itemsize or tail > size:
                raise DataBinError(f"{path} is truncated or damaged: {count} images do not fit its {size} bytes.")
            file.seek(tail)
            containers = json.loads(file.read())
    except (OSError, struct.error, ValueError, RecursionError) as error:
        raise DataBinError(f"image index {path} cannot be read: {error}") from error
    if not isinstance(containers, list) or not all(isinstance(name, str) for name in containers):
        raise DataBinError(f"{path} is damaged: its container list is not a list of names.")
    for name in containers:
        if not name or name != os.path.basename(name) or name in {".", ".."}:
            raise DataBinError(f"{path} names the container {name!r}, which is not a file of its own folder.")
    return count, containers


class ImageIndex:
    """Random access to the encoded images of a split.

    Args:
        path: the ``SPLIT.images.idx`` file.

    Raises:
        DataBinError: the index is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        count, self.containers = _read_header(path)
        self._records = (
            np.memmap(path, dtype=RECORD, mode="r", offset=HEADER.size, shape=(count,))
            if count
            else np.empty(0, dtype=RECORD)
        )
        self._files: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            os.close(descriptor)

    def record(self, index: int) -> ImageRecord:
        """Where image ``index`` lies."""
        row = self._records[index]
        return ImageRecord(*(int(row[name]) for name in ImageRecord._fields))

    def read(self, index: int) -> bytes:
        """The encoded bytes of image ``index``, checked against their checksum.

        Raises:
            ImageReadError: the bytes cannot be had or are not those that were stored.
        """
        record = self.record(index)
        try:
            data = os.pread(self._descriptor(record.container), record.length, record.offset)
        except (OSError, IndexError, OverflowError, MemoryError) as error:
            raise ImageReadError(f"image {index} of {self.path.name}: {error}") from error
        if len(data) != record.length:
            raise ImageReadError(
                f"image {index} of {self.path.name}: {self.containers[record.container]} is truncated "
                f"({len(data)} of {record.length} bytes)"
            )
        if zlib.crc32(data) != record.crc32:
            raise ImageReadError(
                f"image {index} of {self.path.name}: checksum differs, the bytes changed since preparation"
            )
        return data

    def _descriptor(self, container: int) -> int:
        if container not in self._files:
            path = self.path.parent / self.containers[container]
            self._files[container] = os.open(path, os.O_RDONLY)
        return self._files[container]
