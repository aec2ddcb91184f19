"""Token files in fairseq's mmap format, opened without reading them through, and written in constant memory.

``PREFIX.bin`` holds the tokens of all entries one after the other; ``PREFIX.idx`` (little endian)::

    header    26 bytes: magic "MMIDIDX\\0\\0", u64 version 1, u8 type code, u64 number of entries
    sizes     i32 an entry: tokens
    pointers  i64 an entry: byte offset in PREFIX.bin
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .byte_file import ByteFile, map_file
from .databin import DataBinError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQ")
_CODES: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 5: np.dtype("<i8"), 8: np.dtype("<u2"), 9: np.dtype("<u4")}
_SIZE, _POINTER = np.dtype("<i4"), np.dtype("<i8")
_SMALL_VOCABULARY = 65500
_CHUNK = 1 << 20  # entries whose pointers are worked out at once


def token_type(vocabulary: int) -> np.dtype:
    """The type that fairseq stores the tokens of a vocabulary of so many entries in."""
    return np.dtype("<u2") if vocabulary < _SMALL_VOCABULARY else np.dtype("<u4")


class TokenFileWriter:
    """Writes entries in order. Call close() to make the file valid.

    Args:
        prefix: path without ``.bin`` and ``.idx``.
        dtype: of the stored tokens: uint16, uint32, int32 or int64.

    Raises:
        ValueError: another type.
    """

    def __init__(self, prefix: Path, dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype).newbyteorder("<")
        codes = [code for code, known in _CODES.items() if known == self._dtype]
        if not codes:
            raise ValueError(f"tokens cannot be stored as {self._dtype}; choose uint16, uint32, int32 or int64")
        self._code = codes[0]
        self._count = 0
        self._tokens = open(f"{prefix}.bin", "wb")  # noqa: SIM115 (closed by close())
        self._index = open(f"{prefix}.idx", "w+b")  # noqa: SIM115 (closed by close())
        self._index.write(bytes(_HEADER.size))

    def extend(self, tokens: np.ndarray, sizes: np.ndarray) -> None:
        """Append entries.

        Args:
            tokens: (sum of sizes,) integers, the entries one after the other.
            sizes: (entries,) integers.

        Raises:
            ValueError: the sizes do not add up, or a token does not fit the type.
        """
        if int(sizes.sum()) != len(tokens) or (len(sizes) and sizes.min() < 0):
            raise ValueError(f"sizes add up to {int(sizes.sum())} tokens, given are {len(tokens)}")
        stored = tokens.astype(self._dtype)
        if not np.array_equal(stored, tokens):
            raise ValueError(f"tokens up to {tokens.max()} do not fit {self._dtype}")
        self._tokens.write(stored.tobytes())
        self._index.write(sizes.astype(_SIZE).tobytes())
        self._count += len(sizes)

    def close(self) -> None:
        """Add the pointers and, last of all, the header."""
        self._tokens.close()
        address = 0
        for start in range(0, self._count, _CHUNK):
            entries = min(_CHUNK, self._count - start)
            self._index.seek(_HEADER.size + 4 * start)
            ends = address + np.cumsum(
                np.frombuffer(self._index.read(4 * entries), _SIZE).astype(_POINTER) * self._dtype.itemsize
            )
            self._index.seek(0, 2)
            self._index.write(np.concatenate([[address], ends[:-1]]).astype(_POINTER).tobytes())
            address = int(ends[-1])
        self._index.seek(0)
        self._index.write(_HEADER.pack(_MAGIC, 1, self._code, self._count))
        self._index.close()


class TokenFile:
    """Entries of a token file by number.

    Args:
        prefix: path without ``.bin`` and ``.idx``.

    Attributes:
        sizes: (entries,) int32, memory-mapped: tokens of each entry.
        dtype: of the stored tokens.

    Raises:
        DataBinError: the files are missing or do not fit together.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        try:
            self._tokens = ByteFile(Path(f"{prefix}.bin"))
            self._index = ByteFile(Path(f"{prefix}.idx"))
            magic, version, code, count = _HEADER.unpack(self._index.read(0, _HEADER.size))
        except (OSError, struct.error) as error:
            raise DataBinError(f"token file {prefix}.bin or .idx cannot be read: {error}") from error
        if magic != _MAGIC or version != 1 or code not in _CODES:
            raise DataBinError(f"{prefix}.idx is not the index of a token file; prepare the data again.")
        if self._index.size != _HEADER.size + 12 * count:
            raise DataBinError(
                f"{prefix}.idx is truncated or damaged: {count} entries do not fit {self._index.size} bytes."
            )
        self.dtype = _CODES[code]
        self.sizes = np.frombuffer(map_file(self._index.path), _SIZE, count, _HEADER.size)
        end = sum(self._range(count - 1)) if count else 0
        if end != self._tokens.size:
            raise DataBinError(
                f"{prefix}.bin has {self._tokens.size} bytes, its index says {end}; prepare the data again."
            )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getstate__(self) -> dict[str, Any]:
        return {"prefix": self.prefix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["prefix"])  # type: ignore[misc]

    def _range(self, index: int) -> tuple[int, int]:
        """First byte and number of bytes of an entry, not checked."""
        size = self._index.entries(_HEADER.size, _SIZE, index)[0]
        pointer = self._index.entries(_HEADER.size + len(self) * _SIZE.itemsize, _POINTER, index)[0]
        return int(pointer), int(size) * self.dtype.itemsize

    def tokens(self, index: int) -> np.ndarray:
        """(size of the entry,) tokens as they are stored, read-only.

        Raises:
            IndexError: there is no such entry.
            DataBinError: the files are damaged there.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"entry {index} of the {len(self)} of {self.prefix}")
        start, length = self._range(index)
        if start >= 0 and 0 <= length <= self._tokens.size - start:
            self._tokens.check_unchanged()
            data = self._tokens.read(start, length)
            if len(data) == length:
                return np.frombuffer(data, self.dtype)
        raise DataBinError(f"entry {index} of {self.prefix}.bin is damaged; prepare the data again.")
