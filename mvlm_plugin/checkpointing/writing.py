"""Checkpoint files appear whole or not at all.

fairseq writes the first of a checkpoint's files under another name and renames it, without waiting for the disk, and
copies it to the other names piece by piece: a process killed then leaves checkpoint_last.pt cut short. Here every
file is written in full under the name NAME.tmp, flushed to the disk, and renamed.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from .errors import CheckpointError

logger = logging.getLogger(__name__)

PARTIAL = ".tmp"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ATTEMPTS = 3  # as fairseq: a file system on a network may fail once
_PAUSE = 2.5


class _WholeFiles(PathManager):
    """fairseq's access to files, with copies that appear whole."""

    @staticmethod
    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
        """Copy a checkpoint under another name: not as a link, so that damage to one is not damage to both."""

        def write(file: BinaryIO) -> None:
            with open(src_path, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)

        _write(dst_path, write, lambda: os.path.getsize(src_path))
        return True


def write_whole_files() -> None:
    """Let fairseq save checkpoints in this way."""
    checkpoint_utils.torch_persistent_save = save
    checkpoint_utils.PathManager = _WholeFiles


def save(state: dict[str, Any], filename: str, async_write: bool = False) -> None:
    """In place of fairseq's torch_persistent_save().

    Raises:
        CheckpointError: the disk is full, or fails again and again; what was there under the name before stays.
        ValueError: writing in the background is asked for.
    """
    if async_write:
        raise ValueError(
            "--write-checkpoints-asynchronously leaves files cut short, and no checkpoint_last.pt; leave it away"
        )
    _write(filename, lambda file: torch.save(state, file), lambda: _size(state))


def remove_partial_files(folder: str) -> None:
    """Delete what a killed run has left of checkpoints that it was writing."""
    for path in Path(folder).glob(f"*.pt{PARTIAL}"):
        logger.info("deleting %s, which a run was writing when it was killed", path)
        path.unlink(missing_ok=True)


def _write(filename: str, write: Callable[[BinaryIO], None], size: Callable[[], int]) -> None:
    """Write a file in full, or leave all as it was.

    Args:
        filename: the name under which it appears.
        write: writes the content; begins with an empty file in each attempt.
        size: about how many bytes that takes.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _write_once(filename, write)
            return
        except Exception as error:
            cause = _disk_error(error)
            if cause is None:
                raise
            if cause.errno in _FULL:
                raise CheckpointError(_full_disk(filename, cause, size())) from error
            if attempt == _ATTEMPTS:
                raise CheckpointError(f"cannot write {filename}: {cause}. Earlier checkpoints are whole.") from error
            logger.warning("writing %s failed and is tried again: %s", filename, cause)
            time.sleep(_PAUSE)


def _write_once(filename: str, write: Callable[[BinaryIO], None]) -> None:
    partial = filename + PARTIAL
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, filename)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    _flush_folder(os.path.dirname(filename) or ".")


def _flush_folder(folder: str) -> None:
    """Make a renaming last through a loss of power, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _disk_error(error: BaseException | None) -> OSError | None:
    """The failure of the file behind an exception: torch.save() raises a RuntimeError of its own on top of it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _full_disk(filename: str, cause: OSError, size: int) -> str:
    free = shutil.disk_usage(os.path.dirname(filename) or ".").free
    return (
        f"cannot write {filename}: no room is left ({cause.strerror}). It takes about {_mebibytes(size)}, and "
        f"{_mebibytes(free)} of the disk are free. Make room (--keep-interval-updates, --keep-last-epochs and "
        "--no-epoch-checkpoints keep fewer files) and start the same command again: it goes on from the last "
        "checkpoint, which is whole."
    )


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _size(state: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(_size, parts))
