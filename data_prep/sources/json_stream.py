"""Entries of JSON files one at a time: a file may be larger than memory, and may be hostile."""

from collections.abc import Iterator
from typing import Any, BinaryIO

import ijson

from ..files import open_binary
from ..records import PrepError
from .text_lines import BYTE_ORDER_MARK

MAX_DEPTH = 100
MAX_ENTRY = 16 * 2**20
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = b"[{"


class _BoundedJson:
    """A file that stops where its JSON nests too deeply or one entry does not end: ijson's memory grows with both.

    Args:
        file: opened for reading bytes.
        path: for messages.
        fix: for messages.
        list_depth: brackets that are open between two entries.
    """

    def __init__(self, file: BinaryIO, path: str, fix: str, list_depth: int) -> None:
        self._file = file
        self._path = path
        self._fix = fix
        self._list_depth = list_depth
        self._depth = 0
        self._in_string = 0
        self._pending = b""
        self._started = False
        self._entry_bytes = 0

    def read(self, size: int) -> bytes:
        """The next bytes, after a look at their brackets.

        Raises:
            PrepError: nested too deeply, or the entry is too large.
        """
        block = self._file.read(size)
        if block and not self._started:
            self._started = True
            block = block.removeprefix(BYTE_ORDER_MARK) or self._file.read(size)
        self._check(block)
        return block

    def _check(self, block: bytes) -> None:
        data = self._pending + block
        # A backslash at the end may escape the first byte of the next block.
        backslashes = len(data) - len(data.rstrip(b"\\"))
        self._pending = data[len(data) - backslashes % 2 :]
        data = data[: len(data) - backslashes % 2].replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = data.split(b'"')
        brackets = b"".join(parts[self._in_string :: 2]).translate(None, _NOT_BRACKETS)
        self._in_string ^= (len(parts) - 1) % 2
        lowest = self._depth
        for bracket in brackets:
            self._depth += 1 if bracket in _OPENING else -1
            lowest = min(lowest, self._depth)
            if self._depth > MAX_DEPTH:
                raise PrepError(
                    f"{self._path} is not usable JSON (more than {MAX_DEPTH} brackets are open at once); {self._fix}"
                )
        entry_ended = lowest <= self._list_depth and (len(parts) > 1 or brackets)
        self._entry_bytes = 0 if entry_ended else self._entry_bytes + len(block)
        if self._entry_bytes > MAX_ENTRY:
            raise PrepError(f"{self._path} is not usable JSON (an entry has over {MAX_ENTRY >> 20} MiB); {self._fix}")


def _one_line(error: Exception) -> str:
    """What ijson complains of, without its picture of the place."""
    message = error if isinstance(error, UnicodeError) or not error.args else error.args[0]
    if isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    return str(message).strip().partition("\n")[0]


def items(path: str, prefix: str, fix: str) -> Iterator[Any]:
    """The entries of a list in a JSON file, in order. Whole numbers are ints, others floats.

    Args:
        path: local path or URL.
        prefix: the list's place as ijson writes it: ``item`` for a list at the top, ``images.item`` for a list "images"
            in an object; ``version`` for the object's single value of that name.
        fix: what the user should give instead, for messages: "give a Karpathy file such as dataset_coco.json".

    Raises:
        PrepError: the file is not JSON, is nested over 100 deep, has an entry of over 16 MiB, or the list is
            absent or empty; raised as far into the file as that is found.
        OSError: the file cannot be read.
    """
    count = 0
    with open_binary(path) as file:
        bounded = _BoundedJson(file, path, fix, 1 if prefix == "item" else 2)
        try:
            for entry in ijson.items(bounded, prefix, use_float=True):
                count += 1
                yield entry
        except (ijson.JSONError, ValueError, OverflowError) as error:
            raise PrepError(f"{path} is not usable JSON ({_one_line(error)}); {fix}") from error
    if count == 0:
        raise PrepError(f"{path} has no {_description(prefix)}; {fix}")


def _description(prefix: str) -> str:
    if prefix == "item":
        return "list at its top, or an empty one"
    name, separator, _ = prefix.rpartition(".item")
    return f'list "{name}", or an empty one' if separator else f'"{prefix}"'


def is_list(path: str) -> bool:
    """Whether a JSON file holds a list, and not an object, at its top.

    Raises:
        PrepError, OSError: as open_binary.
    """
    with open_binary(path) as file:
        return file.read(4096).removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"[")


def record_key(value: Any) -> int | str | None:
    """A number or name by which entries refer to each other, or None where the value can be none."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None
