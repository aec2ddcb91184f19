"""A checkpoint that fairseq-train wrote, read without the pairs that it was trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq import utils
from torch import Tensor

from ..data.databin import DataBinError, read_manifest, shard_folders
from ..evaluate.protocol import stage_of, updates_of
from ..interop.norm_eps import EPS_ENTRIES
from ..interop.reading import WeightFiles, WeightsError, read_weights
from ..models.pair_classifier import HEAD
from ..training_record import KEY, record_of
from .model_config import read_config
from .saved import Saved


def read_checkpoint(path: Path, data: str | None = None) -> Saved:
    """A checkpoint of pre-training or retrieval. No code of the file runs.

    Args:
        path: of the file.
        data: data-bin with the model's tokenizer; None: the one that the checkpoint names.

    Raises:
        ValueError: the file is damaged, would run code, or is of another program or task.
        DataBinError: the data-bin is missing or damaged.
    """
    weights = read_weights(path)
    cfg = weights.content.get("cfg")
    model, task, _ = (_section(cfg, name, path) for name in ("model", "task", "checkpoint"))
    name = str(task.get("_name"))
    if any(tensor.startswith(f"{HEAD}.") for tensor in weights.tensors):
        raise ValueError(
            f"{path} is a classifier (task {name}), which has no vectors, matching, words or pixels to give; evaluate "
            f"it with mvlm-eval {name.removeprefix('vl_')}, or load the pre-trained checkpoint that it started from"
        )
    architecture = str(model.get("_name"))
    tensors = {**weights.tensors, **_exact_eps(weights)}
    trained_on = str(task.get("data"))
    folder, kind = _tokenizer_of(path, trained_on, data)
    return Saved(
        source=path,
        architecture=architecture,
        cfg=read_config(architecture, model),
        eval_transform=str(task.get("eval_transform") or ""),
        tokenizer=kind,
        tokenizer_folder=folder,
        training=_training(path, weights.content, trained_on),
        shapes={tensor: tuple(value.shape) for tensor, value in tensors.items()},
        read=lambda: tensors,
    )


def _exact_eps(weights: WeightFiles) -> dict[str, Tensor]:
    """The eps of norms with all their digits: read_weights() makes everything float32."""
    state = weights.content.get("model")
    state = state if isinstance(state, Mapping) else {}
    return {name: state[name] for name in EPS_ENTRIES if name in weights.tensors and name in state}


def _training(path: Path, content: Mapping[str, Any], trained_on: str) -> dict[str, Any]:
    """How the model was trained, for those who measure it."""
    try:
        updates, earlier = updates_of(content["optimizer_history"])
        record = record_of(content)
        made_with = {} if record is None else {KEY: record}
        return {"stage": stage_of(content["cfg"], earlier), "trained_on": trained_on, "updates": updates, **made_with}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its record of the training is damaged ({error!r})") from error


def _section(cfg: Any, name: str, path: Path) -> Mapping[str, Any]:
    section = cfg.get(name) if isinstance(cfg, Mapping) else None
    if not isinstance(section, Mapping):
        raise WeightsError(f"{path} is no checkpoint of fairseq-train: it has no configuration of its {name}")
    return section


def _tokenizer_of(path: Path, trained_on: str, data: str | None) -> tuple[Path, str]:
    """Folder and kind of the tokenizer of a data-bin, or of the first of several."""
    try:
        folder = shard_folders(Path(utils.split_paths(data or trained_on)[0]))[0]
        return folder, str(read_manifest(folder)["tokenizer"]["kind"])
    except (DataBinError, OSError, KeyError, TypeError, IndexError) as error:
        if data:
            raise DataBinError(f"{error} {data} must be the data-bin that {path} was trained on.") from error
        raise DataBinError(
            f'{path} was trained on {trained_on}, which cannot be read from here: pass data="data-bin/..." '
            f"(mvlm-export: --data), where that data-bin lies now. ({error})"
        ) from error
