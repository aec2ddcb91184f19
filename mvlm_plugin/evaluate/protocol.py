"""Under what conditions a figure was measured: which checkpoint, how it was trained, at what resolution."""

from collections.abc import Sequence
from typing import Any

import torch

from ..interop.reading import WeightsError, no_code_of
from ..models.fused_encoders import FusedEncoders
from ..models.mvlm import OBJECTIVES
from ..training_record import record_of, summary_of

_PRETRAINING = "joint_masked_vl"
# fairseq's default of --restore-file: the run's own last checkpoint.
_OWN_LAST = "checkpoint_last.pt"


def protocol_of(path: str, task: Any, model: FusedEncoders, **more: Any) -> dict[str, Any]:
    """What stands beside every figure of a checkpoint.

    Args:
        path: of the checkpoint.
        task, model: from open_checkpoint(path, data).
        more: entries of the evaluation, such as subset, images, captions, top_k; they come last and win.

    Returns:
        ``checkpoint``; ``stage``; ``objectives``, where the training had some of MLM, MIM, ITC and ITM; ``trained_on``:
        data-bin of the checkpoint's own training; ``updates`` of that training; ``made_with``: the versions that made
        it, where it tells; ``resolution`` in pixels; ``data``: the data-bin that is evaluated; then ``more``.

    Raises:
        OSError: no such file.
        ValueError: the file is no checkpoint of fairseq-train.
    """
    cfg, history, made_with = _read_record(path)
    try:
        training = _training(cfg, history)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its record of the training is damaged ({error!r})") from error
    if made_with:
        training["made_with"] = made_with
    return {"checkpoint": path, **training, "resolution": model.cfg.image_size, "data": task.cfg.data} | more


def _training(cfg: dict[str, Any], history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entries on the training of a checkpoint, from its configuration and its list of runs."""
    updates, earlier = updates_of(history)
    trained_on = str(cfg["task"]["data"])
    share = cfg["task"].get("data_fraction", 1.0)
    if share != 1.0:
        trained_on += f", {share} of its images"
    weights = cfg.get("criterion") or {}
    objectives = [name for name in OBJECTIVES if weights.get(f"{name}_weight")]
    return {
        "stage": stage_of(cfg, earlier),
        **({"objectives": ", ".join(objectives)} if objectives else {}),
        "trained_on": trained_on,
        "updates": updates,
    }


def stage_of(cfg: dict[str, Any], earlier: int) -> str:
    """How far a checkpoint's training had come, in words.

    Args:
        cfg: the configuration that fairseq stored in it.
        earlier: updates of trainings whose weights this one started from, where the checkpoint tells.
    """
    name, options = cfg["task"]["_name"], cfg["checkpoint"]
    source = options.get("finetune_from_model")
    if not source and options.get("restore_file", _OWN_LAST) != _OWN_LAST:
        source = options["restore_file"]
    # A run that goes on may be started without the option; the updates of the first training still stand there.
    if not source and earlier:
        source = "an earlier checkpoint"
    source = f"{source} ({earlier} updates)" if source and earlier else source
    if name == _PRETRAINING:
        return f"pre-trained only, started from {source}" if source else "pre-trained only"
    return f"fine-tuned ({name}) from {source}" if source else f"trained ({name}), not from a pre-trained checkpoint"


def updates_of(history: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """fairseq's list of runs -> updates of the last training, and of all trainings before it.

    A run that goes on after a stop adds an entry of its own, whose count goes on too; where the criterion changes or
    the count falls, another training began.
    """
    trainings: list[dict[str, Any]] = []
    for entry in history:
        is_going_on = (
            trainings
            and trainings[-1]["criterion_name"] == entry["criterion_name"]
            and trainings[-1]["num_updates"] <= entry["num_updates"]
        )
        trainings[-1 if is_going_on else len(trainings) :] = [entry]
    counts = [int(entry["num_updates"]) for entry in trainings]
    return (counts[-1], sum(counts[:-1])) if counts else (0, 0)


def _read_record(path: str) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Configuration, list of runs and versions of a checkpoint; its tensors stay on the disk."""
    try:
        with no_code_of(path):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        cfg, history = state["cfg"], state["optimizer_history"]
        if not {"task", "checkpoint"} <= set(cfg):
            raise KeyError("task")
        record = record_of(state)
        made_with = "" if record is None else summary_of(record)
    except (WeightsError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of fairseq-train: {error}") from None
    return cfg, history, made_with
