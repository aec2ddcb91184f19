"""Which checkpoint a run goes on from: the last one, or where that is damaged, the newest sound one, with a word."""

import logging
import os
import pickle
import re
import struct
import zipfile
import zlib
from typing import Any

import torch
import torch.distributed as dist
from fairseq import checkpoint_utils

from ..distributed import rank, world_size
from ..interop.reading import would_run_code
from ..ranks import keep_training_batch
from ..training_record import finetuned_checkpoint, follow_checkpoint
from .errors import CheckpointError
from .loop import go_on, repeat_end_of_epoch, training_loop
from .stopping import follow_signals
from .writing import remove_partial_files

logger = logging.getLogger(__name__)

# fairseq's default of --restore-file: the last checkpoint in --save-dir.
_LAST = "checkpoint_last.pt"
_UNREADABLE = (
    OSError, RuntimeError, ValueError, LookupError, TypeError, OverflowError, EOFError, zipfile.BadZipFile, zlib.error,
    struct.error, pickle.UnpicklingError,
)  # fmt: skip

_fairseq_load_checkpoint = checkpoint_utils.load_checkpoint


def load_checkpoint(cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    """fairseq's start of a training run, from a checkpoint that is sound; signals are followed from here on.

    Each rank reads the file: rank 0 would send what it read as a pickle that torch.load refuses.

    Raises:
        CheckpointError: the file asked for is damaged or absent, all files of the folder are damaged, or the checkpoint
            is of another architecture or dictionary.
        ValueError, DataBinError: see follow_checkpoint().
    """
    keep_training_batch(trainer)
    loop = training_loop()
    if loop is not None:
        follow_signals(loop, trainer)
    changes: dict[str, Any] = {"load_checkpoint_on_all_dp_ranks": True}
    path = _choose_on_rank_0(cfg, trainer.checkpoint_suffix)
    finetuned = "" if path else finetuned_checkpoint(cfg, trainer.checkpoint_suffix)
    if path:
        changes |= {"restore_file": path, "finetune_from_model": None}
    # Checkpoints keep the options that the user gave.
    given = {name: getattr(cfg, name) for name in changes}
    _set(cfg, changes)
    try:
        extra_state, epoch_itr = _fairseq_load_checkpoint(cfg, trainer, **kwargs)
    except Exception as error:
        # fairseq says that it cannot load the model, and no more.
        if error.__context__ is None or not str(error).startswith("Cannot load model parameters"):
            raise
        raise CheckpointError(f"{error} {error.__context__}") from error.__context__
    finally:
        _set(cfg, given)
    follow_checkpoint(cfg, trainer, extra_state, finetuned)
    if not cfg.reset_lr_scheduler:
        repeat_end_of_epoch(trainer, epoch_itr, extra_state)
    if loop is not None:
        go_on(loop, extra_state)
    return extra_state, epoch_itr


def _set(cfg: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(cfg, name, value)


def _choose_on_rank_0(cfg: Any, suffix: str) -> str:
    """choose(), the same on every rank."""
    answer = ["", ""]
    if rank() == 0:
        try:
            remove_partial_files(cfg.save_dir)
            answer[0] = choose(cfg, suffix)
        except CheckpointError as error:
            answer[1] = str(error)
    if world_size() > 1:
        dist.broadcast_object_list(answer)
    if answer[1]:
        raise CheckpointError(answer[1])
    return answer[0]


def choose(cfg: Any, suffix: str = "") -> str:
    """The file to go on from in place of fairseq's own choice; empty where that is sound, or there is none yet.

    Args:
        cfg: fairseq's options of checkpoints.
        suffix: what fairseq appends to the names of files.

    Raises:
        CheckpointError: see load_checkpoint().
    """
    if cfg.restore_file != _LAST:
        _require_sound("--restore-file", cfg.restore_file.replace(".pt", f"{suffix}.pt"))
        return ""
    last = os.path.join(cfg.save_dir, f"checkpoint_last{suffix}.pt")
    damage = find_damage(last) if os.path.exists(last) else "it is not there"
    if not damage:
        return ""
    others = _others(cfg.save_dir, suffix)
    if not others and not os.path.exists(last):
        for option, path in (
            ("--continue-once", cfg.continue_once),
            ("--finetune-from-model", cfg.finetune_from_model),
        ):
            if path:
                _require_sound(option, path)
                return ""
        return ""
    for updates, path in others:
        found = find_damage(path)
        if not found:
            logger.warning("%s cannot be used (%s); going on from %s, of update %d", last, damage, path, updates)
            return path
        logger.warning("%s cannot be used either: %s", path, found)
    raise CheckpointError(
        f"{last} cannot be used ({damage}), and no other checkpoint in {cfg.save_dir} is sound. To go on from another "
        "file, name it with --restore-file; to begin anew, move the damaged files away or give another --save-dir."
    )


def _require_sound(option: str, path: str) -> None:
    if not os.path.isfile(path):
        raise CheckpointError(f"{option} {path}: there is no such file")
    damage = find_damage(path)
    if damage:
        raise CheckpointError(f"{option} {path} is damaged ({damage}); name another checkpoint of its folder")


def _others(folder: str, suffix: str) -> list[tuple[int, str]]:
    """Number of updates and path of all but the last checkpoint of a run, newest first; unreadable ones come last."""
    pattern = re.compile(rf"checkpoint(\d+|_\d+_\d+|_best|\.best_.+){re.escape(suffix)}\.pt")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in sorted(names) if pattern.fullmatch(name)]
    return sorted(((_updates(path), path) for path in paths), reverse=True)


def _updates(path: str) -> int:
    """Number of updates of a checkpoint, -1 where it cannot be read; tensors are not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            archive.read(name)  # checks its sum
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        return int(state["optimizer_history"][-1]["num_updates"])
    except (*_UNREADABLE, StopIteration):
        return -1


def find_damage(path: str) -> str:
    """What is wrong with a checkpoint file, by the sums that it holds of all its parts; empty where it is sound.

    torch.load() finds a file that is cut short, but does not look at these sums. A file that would run code is not
    damaged: whatever loads it refuses it with the reason.
    """
    is_archive = True
    try:
        if os.path.getsize(path) == 0:
            return "it is empty"
        with open(path, "rb") as file:
            is_archive = file.read(4).startswith(b"PK")
        if is_archive:
            with zipfile.ZipFile(path) as archive:
                part = archive.testzip()
            if part:
                return f"the sum of its part {part} is wrong"
        torch.load(path, map_location="cpu", mmap=is_archive, weights_only=True)  # its structure; tensors are not read
    except _UNREADABLE as error:
        if would_run_code(error):
            return ""
        if is_archive:
            return f"it cannot be read: {(str(error).splitlines() or [repr(error)])[0]}"
    return "" if is_archive else "it is no file of torch.save()"
