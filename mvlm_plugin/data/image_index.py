"""The image index: where each encoded image lies, as byte ranges of container files.

Layout of ``SPLIT.images.idx`` (little endian)::

    header      64 bytes: magic "MVLMIMG2", u64 images, u64 containers, u64 offset of the container table,
                u64 offset of the names, padding
    records     32 bytes an image, type RECORD; width and height are pixels after EXIF orientation
    containers  32 bytes a container, type CONTAINER; size in bytes; mtime_ns: time of the last change, 0 = not checked
    names       UTF-8 names of the containers, each at an offset from the first

Opening costs the same for a thousand images as for ten million, in as many files. Reading an
image is one ``pread``, safe from any number of processes and threads.
"""

import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from .byte_file import ByteFile, map_file
from .databin import DataBinError

MAGIC = b"MVLMIMG2"
HEADER = struct.Struct("<8sQQQQ24x")
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
CONTAINER = np.dtype(
    [("name_offset", "<u8"), ("name_length", "<u4"), ("zero", "<u4"), ("size", "<u8"), ("mtime_ns", "<i8")]
)
MAX_IMAGE_BYTES = 2**32 - 1
# Containers looked at when an index is opened, and containers held open.
_CHECKED = 4096
_OPEN_FILES = 128
# Names that are not UTF-8 keep their bytes.
_ERRORS = "surrogateescape"
_RELINK = "prepare again, or `mvlm-prep relink DATABIN` if it was only"


class ImageReadError(RuntimeError):
    """The stored bytes of an image cannot be had: container missing, changed or truncated, or checksum wrong."""


class ImageRecord(NamedTuple):
    """Where an image's bytes lie. width and height are pixels after EXIF orientation."""

    container: int
    offset: int
    length: int
    width: int
    height: int
    crc32: int


class Container(NamedTuple):
    """A file that images lie in: its name as stored, its bytes, and its last change (0 = not checked)."""

    name: str
    size: int
    mtime_ns: int


class ImageIndexWriter:
    """Writes an index in constant memory. Call close() to make the file valid.

    Args:
        path: the ``SPLIT.images.idx`` file; temporary files lie in its folder until close().
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed by close())
        self._file.write(bytes(HEADER.size))
        self._table = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by close())
        self._names = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 (closed by close())
        self._images = 0
        self._containers = 0
        self._names_size = 0

    def add_container(self, name: str, size: int, mtime_ns: int) -> int:
        """List a file that images lie in.

        Args:
            name: of a file in the index's folder, or relative to the image root or absolute inside it.
            size: bytes.
            mtime_ns: its last change, 0 = not to be checked.

        Returns:
            The number by which records name it.
        """
        encoded = name.encode("utf-8", _ERRORS)
        row = np.array((self._names_size, len(encoded), 0, size, mtime_ns), dtype=CONTAINER)
        self._table.write(row.tobytes())
        self._names.write(encoded)
        self._names_size += len(encoded)
        self._containers += 1
        return self._containers - 1

    def extend(self, records: np.ndarray) -> None:
        """Append images: (images,) of type RECORD. Their containers may be added later."""
        self._file.write(np.ascontiguousarray(records, dtype=RECORD).tobytes())
        self._images += len(records)

    def close(self) -> None:
        """Append containers and names and, last of all, write the header."""
        table_at = HEADER.size + self._images * RECORD.itemsize
        names_at = table_at + self._containers * CONTAINER.itemsize
        for spooled in (self._table, self._names):
            spooled.seek(0)
            shutil.copyfileobj(spooled, self._file)
            spooled.close()
        self._file.seek(0)
        self._file.write(HEADER.pack(MAGIC, self._images, self._containers, table_at, names_at))
        self._file.close()


class ImageIndex:
    """Random access to the encoded images of a split.

    Args:
        path: the ``SPLIT.images.idx`` file.
        root: folder of the images where they lie in files of their own; None = in files of the index's folder.
        checked: how many containers, evenly spaced, are looked at here; the others are when they are first opened.

    Attributes:
        records: (images,) of type RECORD, memory-mapped.
        containers: number of files that the images lie in.

    Raises:
        DataBinError: the index is missing or damaged, a container is missing, or one outside of the data-bin changed
            since preparation.
    """

    def __init__(self, path: Path, root: Path | None = None, checked: int = _CHECKED) -> None:
        self.path = path
        self.root = root
        try:
            self._index = ByteFile(path)
            header = HEADER.unpack(self._index.read(0, HEADER.size))
        except (OSError, struct.error) as error:
            raise DataBinError(f"image index {path} cannot be read: {error}") from error
        magic, images, containers, self._table_at, self._names_at = header
        if magic != MAGIC:
            raise DataBinError(
                f"{path} is not an image index of this version (magic {magic!r}); prepare the data again."
            )
        records_end = HEADER.size + images * RECORD.itemsize
        table_end = records_end + containers * CONTAINER.itemsize
        if (self._table_at, self._names_at) != (records_end, table_end) or table_end > self._index.size:
            raise DataBinError(
                f"{path} is truncated or damaged: {images} images in {containers} files do not fit its "
                f"{self._index.size} bytes; prepare the data again."
            )
        self.records = np.frombuffer(map_file(path), RECORD, images, HEADER.size)
        self.containers = containers
        self._files: dict[int, ByteFile] = {}
        for number in np.unique(np.linspace(0, containers - 1, min(checked, containers)).astype(np.int64)):
            problem = self.container_problem(int(number))
            if problem:
                raise DataBinError(problem)

    def __len__(self) -> int:
        return len(self.records)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def container(self, number: int) -> Container:
        """Container ``number`` as it was at preparation.

        Raises:
            IndexError: there is no such container.
            DataBinError: its entry is damaged.
        """
        if not 0 <= number < self.containers:
            raise IndexError(f"there is no container {number}, the index has {self.containers}")
        row = self._index.entries(self._table_at, CONTAINER, number)[0]
        start, length = self._names_at + int(row["name_offset"]), int(row["name_length"])
        if start + length > self._index.size:
            raise DataBinError(f"{self.path} is damaged: the name of container {number} lies outside of it.")
        name = self._index.read(start, length).decode("utf-8", _ERRORS)
        return Container(name, int(row["size"]), int(row["mtime_ns"]))

    def container_path(self, number: int) -> Path:
        """Where container ``number`` lies.

        Raises:
            IndexError: there is no such container.
            DataBinError: its entry is damaged, or names a file outside the folder that it should lie in.
        """
        name = self.container(number).name
        path = PurePath(name)
        if "\0" not in name and path.name and ".." not in path.parts:
            if self.root is None:
                if name == path.name:
                    return self.path.parent / name
            elif not path.is_absolute() or path.is_relative_to(self.root):
                return self.root / path
        place = "of its own folder" if self.root is None else f"inside {self.root}"
        raise DataBinError(f"{self.path} names the container {name!r}, which is not a file {place}.")

    def container_problem(self, number: int) -> str | None:
        """What is wrong with container ``number`` as it lies there now; None = nothing.

        Raises:
            IndexError: there is no such container.
            DataBinError: see container_path().
        """
        path = self.container_path(number)
        try:
            status = os.stat(path)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}): put it back, {_RELINK} moved."
        return self._change(number, path, status.st_size, status.st_mtime_ns)

    def _change(self, number: int, path: Path, size: int, mtime_ns: int) -> str | None:
        known = self.container(number)
        if self.root is None:  # a damaged file of the data-bin's own costs those images whose bytes are not as stored
            return None
        if size == known.size and known.mtime_ns in {0, mtime_ns}:
            return None
        what = f"{size} bytes instead of {known.size}" if size != known.size else "another modification time"
        return f"{path} changed since preparation ({what}): {_RELINK} copied."

    def record(self, index: int) -> ImageRecord:
        """Where image ``index`` lies. Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no image {index}, the index has {len(self)}")
        row = self._index.entries(HEADER.size, RECORD, index)[0]
        return ImageRecord(*(int(row[name]) for name in ImageRecord._fields))

    def read(self, index: int) -> bytes:
        """The encoded bytes of image ``index``, checked against their checksum. Raises IndexError.

        Raises:
            ImageReadError: the bytes cannot be had or are not those that were stored.
        """
        record = self.record(index)
        try:
            data = self._open(record.container).read(record.offset, record.length)
        except (OSError, IndexError, OverflowError, MemoryError, DataBinError) as error:
            raise ImageReadError(f"image {index} of {self.path.name}: {error}") from error
        if len(data) != record.length:
            raise ImageReadError(
                f"image {index} of {self.path.name}: {self.container(record.container).name} is truncated "
                f"({len(data)} of {record.length} bytes)"
            )
        if zlib.crc32(data) != record.crc32:
            raise ImageReadError(
                f"image {index} of {self.path.name}: checksum differs, the bytes changed since preparation"
            )
        return data

    def _open(self, number: int) -> ByteFile:
        # Every step on the dictionary, which is in order of use, is atomic: no lock, so none can be held in a fork.
        # At worst two threads open the same container; the file that is left over closes with its last reader.
        file = self._files.pop(number, None)
        if file is None:
            path = self.container_path(number)
            file = ByteFile(path)
            problem = self._change(number, path, file.size, file.mtime_ns)
            if problem:
                raise DataBinError(problem)
        self._files[number] = file
        if len(self._files) > _OPEN_FILES:
            for oldest in list(self._files)[:-_OPEN_FILES]:
                self._files.pop(oldest, None)
        return file
