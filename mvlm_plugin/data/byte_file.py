"""Files that are read at random places, from any number of processes and threads.

Single entries of a table are read, whole tables mapped: touching one entry of a map would bring in 64 KiB around it,
and random access soon the whole file.
"""

import mmap
import os
from pathlib import Path

import numpy as np

from .databin import DataBinError


def map_file(path: Path) -> mmap.mmap | bytes:
    """The bytes of a file, memory-mapped and read-only. Raises OSError."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_array(path: Path) -> np.memmap:
    """A .npy file, memory-mapped and read-only.

    Raises:
        DataBinError: it cannot be read, or is no array of plain numbers.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise ValueError("it is an archive")
    except Exception as error:  # NumPy parses the header as Python text, and damaged ones raise nearly every type
        raise DataBinError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return array


class ByteFile:
    """An open file; closed with its last reference, so never under a read that is still running.

    Args:
        path: the file.

    Attributes:
        size: bytes, when it was opened.
        mtime_ns: time of its last change, in nanoseconds.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.mtime_ns = status.st_mtime_ns

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer where the file ends. Raises OSError."""
        return os.pread(self._descriptor, length, offset)

    def check_unchanged(self) -> None:
        """Costs a microsecond; a file that another one took the place of is still read as it was.

        Raises:
            DataBinError: the file was written to since it was opened.
        """
        status = os.fstat(self._descriptor)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.mtime_ns):
            raise DataBinError(f"{self.path} is truncated or was written to while in use; prepare the data again.")

    def entries(self, table: int, dtype: np.dtype, index: int, count: int = 1) -> np.ndarray:
        """(count,) entries from number ``index`` of the table of that type which begins at byte ``table``.

        Raises:
            OSError: the file cannot be read.
            DataBinError: it ends before, or was written to since it was opened.
        """
        self.check_unchanged()
        data = self.read(table + index * dtype.itemsize, count * dtype.itemsize)
        if len(data) != count * dtype.itemsize:
            raise DataBinError(f"{self.path} is truncated; prepare the data again.")
        return np.frombuffer(data, dtype)
