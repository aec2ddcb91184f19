"""fairseq's checkpoints: what they may hold beside tensors, and a model and a task of one."""

import argparse
import pickle
from typing import Any

import torch
from fairseq import checkpoint_utils

from .data.databin import DataBinError
from .models.mvlm import MvlmModel

# The classes that fairseq pickles into a checkpoint; everything else stays refused.
ALLOWED = (argparse.Namespace,)


class CheckpointError(RuntimeError):
    """A checkpoint is none of the model that is to be trained."""


_fairseq_load_checkpoint = checkpoint_utils.load_checkpoint


def allow_fairseq_checkpoints() -> None:
    """Let torch.load(weights_only=True) read fairseq's checkpoints, on every rank. No code of a file runs."""
    torch.serialization.add_safe_globals(list(ALLOWED))
    checkpoint_utils.load_checkpoint = _load_on_all_ranks


def _load_on_all_ranks(cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    """fairseq's, but each rank reads the file: rank 0 would send what it read as a pickle that torch.load refuses.

    Raises:
        CheckpointError: the checkpoint is of another architecture or dictionary.
    """
    options = trainer.cfg.checkpoint
    asked = options.load_checkpoint_on_all_dp_ranks
    options.load_checkpoint_on_all_dp_ranks = True
    try:
        return _fairseq_load_checkpoint(cfg, trainer, **kwargs)
    except Exception as error:
        # fairseq says that it cannot load the model, and no more.
        if error.__context__ is None or not str(error).startswith("Cannot load model parameters"):
            raise
        raise CheckpointError(f"{error} {error.__context__}") from error.__context__
    finally:
        options.load_checkpoint_on_all_dp_ranks = asked  # checkpoints keep the options that the user gave


def open_checkpoint(path: str, data: str) -> tuple[MvlmModel, Any]:
    """Model in eval mode and its task, reading from another data-bin than it was trained on.

    Raises:
        OSError: no such file.
        ValueError: the file is no checkpoint, or one of another program.
        DataBinError: the data-bin is missing or damaged.
    """
    overrides = {"data": data, "dataset_weights": "", "data_fraction": 1.0}
    try:
        models, _, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=overrides)
    except DataBinError:
        raise
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError) as error:
        raise ValueError(f"{path} is no checkpoint of this program: {error}") from error
    return models[0].eval(), task
