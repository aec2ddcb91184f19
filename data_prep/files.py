"""Reading sources from local paths and from whatever fsspec has a driver for (``s3://``, ``gs://``, ``memory://``)."""

import glob
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, cast

import fsspec

from .records import PrepError

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_BLOCK = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_EXPANSION = 10_000_000


class FileState(NamedTuple):
    """Size in bytes, and a stamp that changes when the file does: its modification time, or an entity tag."""

    size: int
    stamp: str


def is_remote(path: str) -> bool:
    """Whether a path is an URL, to be opened through fsspec."""
    return _REMOTE.match(path) is not None


def open_binary(path: str) -> BinaryIO:
    """Open a local path or an URL for reading bytes.

    Raises:
        PrepError: the driver of this kind of URL is missing, the store refuses, or the path is no file but a pipe or a
            device, which may never end.
        OSError: the file cannot be read.
    """
    if not is_remote(path):
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
        raise PrepError(f"{path} is a pipe or a device: write its content to a file and give that")
    try:
        return cast(BinaryIO, fsspec.open(path, "rb").open())
    except OSError:
        raise
    except Exception as error:  # drivers raise types of their own
        raise PrepError(f"{path} cannot be opened: {error}") from error


def file_state(path: str) -> FileState:
    """Size and stamp of a local path or an URL.

    Raises:
        PrepError, OSError: as open_binary.
    """
    if not is_remote(path):
        status = os.stat(path)
        return FileState(status.st_size, str(status.st_mtime_ns))
    try:
        system, inner = fsspec.core.url_to_fs(path)
        info = system.info(inner)
    except OSError:
        raise
    except Exception as error:
        raise PrepError(f"{path} cannot be looked up: {error}") from error
    stamps = (info.get(key) for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created"))
    return FileState(int(info.get("size") or 0), str(next((stamp for stamp in stamps if stamp is not None), "")))


def sha256_of(path: str) -> str:
    """Hexadecimal SHA-256 of a local file or an URL.

    Raises:
        PrepError, OSError: as open_binary.
    """
    digest = hashlib.sha256()
    with open_binary(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def base_name(path: str) -> str:
    """Last part of a path or URL."""
    return path.rstrip("/").rpartition("/")[2]


def _expand_braces(pattern: str) -> Iterator[str]:
    """``{00000..00331}`` counts, ``{a,b}`` lists; anything else in braces stays."""
    for match in _BRACES.finditer(pattern):
        limits = _RANGE.fullmatch(match[1])
        if limits:
            first, last = int(limits[1]), int(limits[2])
            if not 0 <= last - first < _MAX_EXPANSION:
                raise PrepError(f"{match[0]} in {pattern} counts down or too far: write the smaller number first")
            choices = (f"{number:0{len(limits[1])}d}" for number in range(first, last + 1))
        elif "," in match[1]:
            choices = (choice for choice in match[1].split(","))
        else:
            continue
        for choice in choices:
            yield from _expand_braces(pattern[: match.start()] + choice + pattern[match.end() :])
        return
    yield pattern


def expand_paths(pattern: str) -> list[str]:
    """Paths that a pattern names: braces (``{000..331}``) in their order, then ``*`` and ``?`` sorted by name.

    Raises:
        PrepError: it names nothing.
    """
    paths: list[str] = []
    for single in _expand_braces(pattern):
        if not any(char in single for char in "*?["):
            paths.append(single)
        elif is_remote(single):
            system, inner = fsspec.core.url_to_fs(single)
            paths.extend(sorted(str(system.unstrip_protocol(found)) for found in system.glob(inner)))
        else:
            paths.extend(sorted(glob.glob(single, recursive=True)))
    if not paths:
        raise PrepError(f"no file matches {pattern}: check the path, and quote it so that the shell leaves it alone")
    return paths
