"""fairseq's checkpoints: what they may hold beside tensors, and a model and a task of one."""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY

from .data.databin import DataBinError
from .interop.reading import WeightsError, no_code_of
from .models.mvlm import MvlmModel

# The classes that fairseq pickles into a checkpoint; everything else stays refused.
ALLOWED = (argparse.Namespace,)

# What a checkpoint's configuration builds, and where fairseq finds the class of a name.
_PARTS = {"task": TASK_REGISTRY, "model": MODEL_REGISTRY, "criterion": CRITERION_REGISTRY}

_fairseq_load_to_cpu = checkpoint_utils.load_checkpoint_to_cpu


def allow_fairseq_checkpoints() -> None:
    """Let torch.load(weights_only=True) read fairseq's checkpoints. No code of a file runs."""
    torch.serialization.add_safe_globals(list(ALLOWED))
    checkpoint_utils.load_checkpoint_to_cpu = _load_to_cpu


def _load_to_cpu(path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """fairseq's, for files that need not be trusted.

    Raises:
        WeightsError: the file would run code, is damaged, or is no checkpoint of this program.
    """
    with no_code_of(path):
        state = _fairseq_load_to_cpu(path, *args, **kwargs)
    try:
        _check_parts(state)
    except ValueError as error:
        raise WeightsError(f"{path} is no checkpoint of this program: {error}") from None
    return state


def _check_parts(state: Mapping[str, Any]) -> None:
    """Refuse what builds parts of fairseq itself: some of those evaluate strings of their configuration as code."""
    if state.get("args") is not None:
        raise ValueError("it holds the options of an old fairseq")
    cfg = state.get("cfg")
    for part, registry in _PARTS.items():
        section = cfg.get(part) if isinstance(cfg, Mapping) else None
        if not isinstance(section, Mapping):
            raise ValueError(f"it has no configuration of its {part}")
        name = section.get("_name")
        if not isinstance(name, str) or name not in registry:
            raise ValueError(
                f"it names the {part} {str(name)[:40]!r}, which is not known; import the package that adds it first, "
                "on command lines with --user-dir"
            )
        # fairseq would take this entry before the name.
        if part in section or registry[name].__module__.partition(".")[0] == "fairseq":
            raise ValueError(f"it names the {part} {str(section.get(part, name))[:40]!r} of fairseq itself")


def open_checkpoint(path: str, data: str) -> tuple[MvlmModel, Any]:
    """Model in eval mode and its task, reading from another data-bin than it was trained on. No code of the file runs.

    Raises:
        OSError: no such file.
        ValueError: the file is damaged, would run code, or is a checkpoint of another program.
        DataBinError: the data-bin is missing or damaged.
    """
    overrides = {"data": data, "dataset_weights": "", "data_fraction": 1.0}
    try:
        models, _, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides=overrides)
    except (DataBinError, ImportError, OSError, WeightsError):
        raise
    except Exception as error:  # values of every type may stand in its configuration
        message = " ".join(str(error).split())
        raise ValueError(f"{path} is no checkpoint of this program: {type(error).__name__}: {message}") from error
    return models[0].eval(), task
