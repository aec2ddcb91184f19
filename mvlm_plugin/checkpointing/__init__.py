"""Checkpoints of a training run: files that are whole or absent, a sound one to go on from, a last one on a signal."""

from fairseq import checkpoint_utils

from .errors import CheckpointError
from .reading import load_checkpoint
from .writing import write_whole_files

__all__ = ["CheckpointError", "keep_checkpoints"]


def keep_checkpoints() -> None:
    """Let fairseq's training write and read checkpoints in this way."""
    write_whole_files()
    checkpoint_utils.load_checkpoint = load_checkpoint
