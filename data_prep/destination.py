"""The folder that preparation writes: built beside its place, moved there complete or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import MANIFEST, DataBinError, read_manifest

from .parallel import progress_bar
from .records import PrepError

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a folder; each is flushed to disk."""
    files = {}
    paths = sorted(folder.iterdir())
    with progress_bar(len(paths), "hash", "file") as bar:
        for path in paths:
            _sync(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            bar.update()
    return files


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_prepared(dest: Path, request: dict[str, Any], overwrite: bool) -> bool:
    """Whether dest already holds the answer to this request.

    Args:
        dest: the data-bin to be written.
        request: everything that decides the outcome, as the manifest stores it.
        overwrite: whether an existing data-bin may be replaced; it is then never "already prepared".

    Raises:
        PrepError: something is in the way.
    """
    if not os.path.lexists(dest):
        return False
    if not (dest / MANIFEST).is_file():
        raise PrepError(f"{dest} exists and is not a data-bin (no {MANIFEST}): remove it or choose another --dest")
    if overwrite:
        return False
    try:
        manifest = read_manifest(dest)
    except DataBinError as error:
        raise PrepError(f"{error} Replace it with --overwrite") from error
    if manifest.get("request") != json.loads(json.dumps(request)):
        raise PrepError(
            f"{dest} was prepared from other options or other source files: "
            "use --overwrite to replace it, or another --dest"
        )
    files = manifest.get("files", {})
    broken = [name for name, entry in files.items() if _size(dest / name) != entry["bytes"]]
    if broken:
        names = ", ".join(broken)
        raise PrepError(f"{dest} is damaged ({names} missing or changed): prepare it again with --overwrite")
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


@contextmanager
def partial_folder(dest: Path) -> Iterator[Path]:
    """A new hidden folder beside dest; it is removed on leaving, unless it was published."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{dest.name}.partial-", dir=dest.parent))
    mask = os.umask(0)
    os.umask(mask)
    partial.chmod(0o777 & ~mask)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: Path, dest: Path, overwrite: bool) -> None:
    """Move a complete folder to its place in one step.

    Raises:
        PrepError: dest appeared meanwhile and overwrite was not asked for.
    """
    _sync(partial)
    if os.path.lexists(dest):
        if not overwrite:
            raise PrepError(f"{dest} was made by another process meanwhile: use --overwrite to replace it")
        _replace(partial, dest)
    else:
        os.rename(partial, dest)
    _sync(dest.parent)


def _replace(partial: Path, dest: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f".{dest.name}.old-", dir=dest.parent))
    old = aside / dest.name
    os.rename(dest, old)
    try:
        os.rename(partial, dest)
    except BaseException:
        os.rename(old, dest)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
