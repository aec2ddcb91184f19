"""Whole source files that are damaged: mvlm-prep reads them as far as that makes sense, or says what is wrong."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from hostile_forms import Form
from hostile_images import flip

_LEVELS = 100_000


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(1, len(content))]


def _within(random: Random, content: bytes, inserted: bytes) -> bytes:
    """Something put before one of the records of a JSON file."""
    places = [place for place in range(1, len(content)) if content[place : place + 1] == b"{"]
    place = random.choice(places or [1])
    return content[:place] + inserted + content[place:]


def damage_file(random: Random, path: Path, form: Form | None, index: int) -> tuple[str, bool | None]:
    """Damage a source file.

    Args:
        random: chooses.
        path: of the file.
        form: of its source; None for Parquet.
        index: of the damage in a series.

    Returns:
        What was done, and whether the command must fail; None where it may not.
    """
    whole = path.read_bytes()
    any_file: dict[str, Callable[[], tuple[bytes, bool | None]]] = {
        "file with changed bytes": lambda: (flip(random, whole), None),
        "file cut off": lambda: (_cut(random, whole), None if form is None or not form.is_json_list else True),
        "empty file": lambda: (b"", None),
        "HTML for a file": lambda: (b"<!DOCTYPE html>\n<html><body>\n404 Not Found\n</body></html>\n", None),
        "zero bytes for a file": lambda: (bytes(random.randrange(1, 5000)), None),
        "random bytes for a file": lambda: (random.randbytes(3000), None),
        "compressed file": lambda: (gzip.compress(whole, mtime=0), None),
        "file in UTF-16": lambda: (whole.decode("latin-1").encode("utf-16"), None),
    }
    hostile_json: dict[str, Callable[[], tuple[bytes, bool | None]]] = {
        "deeply nested file": lambda: (random.choice((b"[", b'{"a":', b'{"images":[')) * _LEVELS, True),
        "deeply nested record": lambda: (_within(random, whole, b"[" * _LEVELS + b"]" * _LEVELS + b","), True),
        "number beyond 64 bits": lambda: (_within(random, whole, b"9" * random.randrange(20, 4000) + b","), True),
        "no number": lambda: (_within(random, whole, random.choice((b"NaN,", b"-Infinity,", b"1e999,"))), True),
        "half a character": lambda: (_within(random, whole, rb'"\udc00",'), None),
        "record that is not UTF-8": lambda: (_within(random, whole, b'"\xff",'), True),
        "record of 20 MB": lambda: (_within(random, whole, b'"' + b"x" * 20 * 2**20 + b'",'), True),
        "bytes behind JSON": lambda: (whole + random.choice((b"x", b"}", b"[1]", b"\0")), True),
        "list in an object, or the other way round": lambda: (
            b"[" + whole + b"]" if whole.startswith(b"{") else b'{"x": ' + whole + b"}", True
        ),
        "JSON of nothing": lambda: (random.choice((b"[]", b"{}", b"null", b"1", b'""', b"[[]]", b"{", b"[")), True),
    }  # fmt: skip
    no_file: dict[str, Callable[[], object]] = {
        "folder for a file": path.mkdir,
        "no file": lambda: None,
        "FIFO for a file": lambda: os.mkfifo(path),
        "device for a file": lambda: path.symlink_to("/dev/zero"),
        "link to itself for a file": lambda: path.symlink_to(path.name),
    }
    kinds = [*any_file, *any_file, *(hostile_json if form is not None and form.is_json_list else ()), *no_file]
    kind = kinds[index % len(kinds)]
    if kind in no_file:
        path.unlink()
        no_file[kind]()
        return kind, True
    content, must = (any_file.get(kind) or hostile_json[kind])()
    path.write_bytes(content)
    return kind, must
