"""Reads a source without preparing it, and writes tar archives member by member."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from data_prep.records import RejectionLog

T = TypeVar("T")


def read_all(read: Callable[[RejectionLog], Iterator[T]], folder: Path) -> tuple[list[T], list[dict[str, Any]]]:
    """Everything that a reader gives, and what it lists as dropped, with the position as "position"."""
    path = folder / "rejected.jsonl"
    with RejectionLog(path, "position") as log:
        found = list(read(log))
    return found, [json.loads(line) for line in path.read_text().splitlines()]


def tar_bytes(members: list[tuple[str, bytes]], format: int = tarfile.GNU_FORMAT, mode: str = "w") -> bytes:
    """An archive of regular files, as Python's tarfile writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def tar_header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """The header of a member, with whatever bytes as size; its checksum is right."""
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[124 : 124 + len(size)] = size
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)
