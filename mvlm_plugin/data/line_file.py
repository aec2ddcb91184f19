"""Numbered lines of text with constant-time access: names of images, label fields of captions.

``PREFIX.bin`` holds the lines, UTF-8, each ending in a line feed; ``PREFIX.idx`` the little-endian u64 offset of
every line, and after them the size of ``PREFIX.bin``. Opening costs the same for any number of lines.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .byte_file import ByteFile
from .databin import DataBinError

_OFFSET = np.dtype("<u8")
# Half characters, which JSON and file names can hold, are kept as they are.
_ERRORS = "surrogatepass"


class LineFileWriter:
    """Writes lines one by one, in constant memory. Call close() to make the file valid.

    Args:
        prefix: path without ``.bin`` and ``.idx``.
    """

    def __init__(self, prefix: Path) -> None:
        self._lines = open(f"{prefix}.bin", "wb")  # noqa: SIM115 (closed by close())
        self._offsets = open(f"{prefix}.idx", "wb")  # noqa: SIM115 (closed by close())
        self._size = 0

    def add(self, text: str) -> None:
        """Append a line.

        Raises:
            ValueError: the text holds a line feed.
        """
        if "\n" in text:
            raise ValueError(f"a line must not hold a line feed: {text[:80]!r}")
        line = text.encode("utf-8", _ERRORS) + b"\n"
        self._offsets.write(self._size.to_bytes(_OFFSET.itemsize, "little"))
        self._lines.write(line)
        self._size += len(line)

    def extend(self, texts: Iterable[str]) -> None:
        """Append lines; see add()."""
        for text in texts:
            self.add(text)

    def close(self) -> None:
        """Complete both files."""
        self._lines.close()
        self._offsets.write(self._size.to_bytes(_OFFSET.itemsize, "little"))
        self._offsets.close()


class LineFile:
    """The lines of a file by number.

    Args:
        prefix: path without ``.bin`` and ``.idx``.

    Raises:
        DataBinError: the files are missing or do not fit together.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        try:
            self._lines = ByteFile(Path(f"{prefix}.bin"))
            self._offsets = ByteFile(Path(f"{prefix}.idx"))
        except OSError as error:
            raise DataBinError(f"{prefix}.bin or .idx cannot be read: {error}") from error
        entries, rest = divmod(self._offsets.size, _OFFSET.itemsize)
        self._count = entries - 1
        if self._count < 0 or rest:
            raise DataBinError(f"{prefix}.idx is truncated or damaged; prepare the data again.")
        first, end = (int(self._offsets.entries(0, _OFFSET, index)[0]) for index in (0, self._count))
        if first != 0 or end != self._lines.size:
            raise DataBinError(f"{prefix}.idx does not fit {prefix.name}.bin; prepare the data again.")

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {"prefix": self.prefix}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["prefix"])  # type: ignore[misc]

    def __getitem__(self, index: int) -> str:
        """Line ``index`` without its line feed.

        Raises:
            IndexError: there is no such line.
            DataBinError: the files are damaged there.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"line {index} of the {len(self)} of {self.prefix}")
        start, end = self._offsets.entries(0, _OFFSET, index, 2).tolist()
        if start < end <= self._lines.size:
            line = self._lines.read(start, end - start)
            if len(line) == end - start and line.endswith(b"\n"):
                try:
                    return line[:-1].decode("utf-8", _ERRORS)
                except UnicodeDecodeError:
                    pass
        raise DataBinError(f"line {index} of {self.prefix}.bin is damaged; prepare the data again.")
