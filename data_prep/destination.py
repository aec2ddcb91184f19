"""The folder that preparation writes: built beside its place, moved there complete or not at all."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import MANIFEST, DataBinError, read_manifest, shard_folders

from .files import sha256_of
from .parallel import progress_bar
from .records import PrepError


def hash_files(folder: Path, known: dict[str, str], names: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of files of a folder; each is flushed to disk.

    Args:
        folder: of the files.
        known: hashes of files that need not be read again.
        names: paths within the folder; None takes all its files.
    """
    files = {}
    names = names or sorted(path.name for path in folder.iterdir() if path.is_file())
    with progress_bar(len(names), "hash", "file") as bar:
        for name in names:
            path = folder / name
            _sync(path)
            files[name] = {"bytes": path.stat().st_size, "sha256": known.get(name) or sha256_of(str(path))}
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
        sizes = {
            folder / name: entry["bytes"]
            for folder in dict.fromkeys([dest, *shard_folders(dest)])
            for name, entry in read_manifest(folder).get("files", {}).items()
        }
    except DataBinError as error:
        raise PrepError(f"{error} Replace it with --overwrite") from error
    if manifest.get("request") != json.loads(json.dumps(request)):
        raise PrepError(
            f"{dest} was prepared from other options or other source files: "
            "use --overwrite to replace it, or another --dest"
        )
    broken = [str(path.relative_to(dest)) for path, size in sizes.items() if _size(path) != size]
    if broken:
        names = ", ".join(broken)
        raise PrepError(f"{dest} is damaged ({names} missing or changed): prepare it again with --overwrite")
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def private_path(path: Path) -> Path:
    """A name beside path for what this process alone writes; other machines may write into the same folder."""
    return path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")


def publish_folder(partial: Path, folder: Path) -> None:
    """Move a complete folder to its place, unless another process has put the same there meanwhile."""
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():
            raise


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
