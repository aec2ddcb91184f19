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


def allow_fairseq_checkpoints() -> None:
    """Let torch.load(weights_only=True) read fairseq's checkpoints. No code of a file runs."""
    torch.serialization.add_safe_globals(list(ALLOWED))


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
