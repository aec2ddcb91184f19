"""Members of a tar archive, one after the other, whatever the archive says about itself.

The headers (POSIX ustar and pax, GNU) are read here and not by the standard library's tarfile, which allocates what a
header claims, keeps a list of all members, and is too slow for archives of many small ones.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import NamedTuple, NoReturn, cast

from ..files import open_binary

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
# What carries the name or the attributes of the next member.
_MAX_EXTENDED_HEADER = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_ODD_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}
_SPARSE = b"sparse"
_PAX_LENGTH = re.compile(rb"(\d{1,8}) ")


class DamagedArchive(Exception):
    """An archive cannot be read on; the message says why and at which byte."""


class Member(NamedTuple):
    """One entry of an archive.

    Attributes:
        name: printable Unicode; control characters and bytes that are not UTF-8 are escaped.
        size: bytes of its content.
        offset: of the content in the archive file; None where the archive is compressed.
        odd_kind: None for a regular file, else what it is, for people: "a symbolic link".
    """

    name: str
    size: int
    offset: int | None
    odd_kind: str | None


def _printable(name: bytes) -> str:
    text = name.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or GNU's base 256. Raises ValueError."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if digits and not digits.isdigit():
        raise ValueError("a number has no digits")
    return int(digits or b"0", 8)


def _checksum_fits(header: bytes) -> bool:
    """Whether the bytes add up, signed or unsigned, to what the header says; its own field counts as spaces."""
    try:
        stored = _number(header[148:156])
    except ValueError:
        return False
    others = header[:148] + header[156:]
    unsigned = sum(others) + 8 * ord(" ")
    return stored == unsigned or stored == unsigned - 256 * sum(byte > 127 for byte in others)


def _pax_attributes(content: bytes) -> dict[bytes, bytes]:
    """The path, the size, and whether there is anything of a sparse file, from ``LENGTH KEY=VALUE`` lines.

    Raises:
        ValueError: they are not of this form.
    """
    attributes: dict[bytes, bytes] = {}
    start = 0
    while start < len(content) and content[start]:
        length = _PAX_LENGTH.match(content, start)
        end = start + int(length[1]) if length else 0
        if length is None or not length.end() < end <= len(content):
            raise ValueError("an attribute of a member is of a wrong length")
        key, _, value = content[length.end() : end].removesuffix(b"\n").partition(b"=")
        if key in (b"path", b"size"):
            attributes[key] = value
        elif key.startswith(b"GNU.sparse."):
            attributes[_SPARSE] = b""
        start = end
    return attributes


def _content_size(header: bytes, attributes: dict[bytes, bytes]) -> int:
    """Bytes of content that a header claims. Raises ValueError."""
    digits = attributes.get(b"size")
    if digits is None:
        return _number(header[124:136])
    if not digits.isdigit():
        raise ValueError("the size of a member is not a number")
    return int(digits)


class TarReader:
    """An archive that is read from front to back. Use it in a ``with`` statement.

    Args:
        path: local path or URL of a tar archive, as it is or compressed with gzip.

    Attributes:
        warning: set when all members were given: how the end of the archive is odd, or None.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.warning: str | None = None
        self._raw = io.BufferedReader(cast(io.RawIOBase, open_binary(path)), _PIECE)
        self._file = self._raw
        self._length: int | None = None
        self._position = 0
        self._content = 0
        self._padding = 0
        try:
            self.compressed = self._raw.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
            if self.compressed:
                self._file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=self._raw)), _PIECE)
            elif self._raw.seekable():
                self._length = self._raw.seek(0, io.SEEK_END)
                self._raw.seek(0)
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> "TarReader":
        return self

    def __exit__(self, *error: object) -> None:
        self._raw.close()

    def members(self) -> Iterator[Member]:
        """The entries that are no folders, in order.

        Raises:
            DamagedArchive: it cannot be read on.
        """
        try:
            yield from self._members()
        except (OSError, EOFError, zlib.error, ValueError) as error:
            self._damaged(str(error))

    def read(self) -> bytes:
        """The content of the member that was given last; to be called once, if at all.

        Raises:
            DamagedArchive: the archive ends within it.
        """
        try:
            content = self._take(self._content)
        except (OSError, EOFError, zlib.error) as error:
            self._damaged(str(error))
        self._content = 0
        return content

    def _damaged(self, reason: str) -> NoReturn:
        raise DamagedArchive(f"at byte {self._position:,}: {reason}") from None

    def _block(self) -> bytes:
        """The next block; empty at the end of the file."""
        block = self._file.read(_BLOCK)
        if block and len(block) < _BLOCK:
            raise EOFError("the archive is cut off within a header")
        self._position += len(block)
        return block

    def _take(self, size: int) -> bytes:
        """The next bytes; what is not there is not allocated."""
        content = self._file.read(min(size, _PIECE))
        if len(content) < size:
            pieces = [content]
            missing = size - len(content)
            while missing and (piece := self._file.read(min(missing, _PIECE))):
                pieces.append(piece)
                missing -= len(piece)
            if missing:
                raise EOFError(f"the archive ends {missing:,} bytes before the end of a member")
            content = b"".join(pieces)
        self._position += size
        return content

    def _skip(self, size: int) -> None:
        if self._length is not None:
            self._file.seek(size, io.SEEK_CUR)
            self._position += size
            return
        while size:
            size -= len(self._take(min(size, _PIECE)))

    def _members(self) -> Iterator[Member]:
        attributes: dict[bytes, bytes] = {}
        while True:
            self._skip(self._content + self._padding)
            self._content = self._padding = 0
            header = self._block()
            if header in (b"", _ZEROS):
                self._finish(bool(header))
                return
            if not _checksum_fits(header):
                self._position -= _BLOCK
                raise ValueError("this is no header of a tar archive, or a damaged one")
            kind = header[156:157]
            size = 0 if kind in _WITHOUT_CONTENT else _content_size(header, attributes)
            if self._length is not None and size > self._length - self._position:
                left = self._length - self._position
                raise EOFError(f"a member claims {size:,} bytes, but only {left:,} are left")
            self._content, self._padding = size, -size % _BLOCK
            if kind in (b"x", b"X", b"L"):
                attributes |= self._extended_header(kind)
                continue
            if kind in (b"g", b"K"):
                continue
            member = self._member(header, kind, attributes)
            attributes = {}
            if member is not None:
                yield member

    def _extended_header(self, kind: bytes) -> dict[bytes, bytes]:
        """Attributes of the next member."""
        if self._content > _MAX_EXTENDED_HEADER:
            raise ValueError(f"{self._content:,} bytes are too many for the name and attributes of a member")
        content = self.read()
        return {b"long name": content.partition(b"\0")[0]} if kind == b"L" else _pax_attributes(content)

    def _member(self, header: bytes, kind: bytes, attributes: dict[bytes, bytes]) -> Member | None:
        """What a header describes; None for a folder."""
        name = attributes.get(b"path") or attributes.get(b"long name")
        if name is None:
            name = header[:100].partition(b"\0")[0]
            prefix = header[345:500].partition(b"\0")[0]
            if prefix and header[257:263] == b"ustar\0":
                name = prefix + b"/" + name
        if kind == b"5" or (kind in _REGULAR and name.endswith(b"/")):
            return None
        odd_kind = None if kind in _REGULAR else _ODD_KINDS.get(kind, "of an unknown kind")
        if _SPARSE in attributes:
            odd_kind = _ODD_KINDS[b"S"]
        more = kind == b"S" and header[482]
        while more:
            block = self._block()
            if not block:
                raise EOFError("the archive is cut off within a header")
            more = block[504]
        return Member(_printable(name), self._content, None if self.compressed else self._position, odd_kind)

    def _finish(self, marked: bool) -> None:
        """Judge the end: a block of zeros marks it, and nothing but zeros follows."""
        if self._position == 0:
            raise EOFError("the archive is empty")
        if not marked:
            self.warning = f"at byte {self._position:,}: there is no mark of its end, so it may be cut off"
        elif self._file.read(_PIECE).strip(b"\0"):
            self.warning = f"at byte {self._position:,}: there is more behind the mark of its end, which is not read"
