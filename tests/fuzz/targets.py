"""Fuzz targets: every reader of files from outside, by name.

A target's input is one byte that chooses a form (a kind of file, or which file of a folder is the hostile one), and the
content of that file. Broken is: any exception that the reader does not document, over _MOST_SECONDS, and any file
written, process started or connection made beyond the target's own folder.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz import folders, images, sources

_MOST_SECONDS = 10.0
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Audit events (PEP 578) of what a reader must not do, whatever its arguments.
_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo"}
_CHANGING = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}


class Parser(NamedTuple):
    """What reads inputs.

    read: form and content -> None; errors: the exceptions that it documents; forms: how many there are; seeds:
    sound inputs, beside those of the kept corpus.
    """

    read: Callable[[int, bytes], None]
    errors: tuple[type[Exception], ...]
    forms: int
    seeds: list[bytes]


# By name: makes a parser, which may keep files in the folder that it is given.
TARGETS: dict[str, Callable[[Path], folders.Target]] = {
    "tar": sources.tar,
    "tables": sources.tables,
    "json": sources.json_sources,
    "parquet": sources.parquet,
    "exclusion": sources.exclusion,
    "image": images.image,
    "databin": folders.databin,
    "tokenizer": folders.tokenizer,
    "checkpoint": folders.checkpoint,
    "checkpoint_config": folders.checkpoint_config,
    "export": folders.export,
    "weights": folders.weights,
}


class Broken(AssertionError):
    """A reader did what no file may make it do."""


class Harness:
    """Runs the inputs of one target, in a folder that is deleted with it.

    Args:
        name: of TARGETS.
    """

    def __init__(self, name: str) -> None:
        base = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self._temporary = tempfile.TemporaryDirectory(prefix="mvlm-fuzz-", dir=base)
        self.folder = os.path.realpath(self._temporary.name)
        self.parser = Parser(*TARGETS[name](Path(self.folder)))
        self._watching = False
        self._seen: list[str] = []
        sys.addaudithook(self._audit)

    def close(self) -> None:
        """Delete the folder."""
        self._temporary.cleanup()

    def run(self, data: bytes) -> None:
        """Read one input.

        Raises:
            Broken: see the head of this file. Undocumented exceptions are raised as they are.
        """
        self._seen.clear()
        began = time.monotonic()
        self._watching = True
        try:
            with suppress(*self.parser.errors):
                self.parser.read(data[0] % self.parser.forms if data else 0, data[1:])
        finally:
            self._watching = False
        if self._seen:
            raise Broken(f"the input led to {self._seen[0]}")
        seconds = time.monotonic() - began
        if seconds > _MOST_SECONDS:
            raise Broken(f"the input took {seconds:.1f} seconds")

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event in _FORBIDDEN:
            self._seen.append(f"{event}{arguments}"[:300])
        elif event in _CHANGING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike) and not self._is_inside(os.fsdecode(path)):
                self._seen.append(f"{event} of {path!r}")

    def _is_inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.folder + os.sep) or path == os.devnull
