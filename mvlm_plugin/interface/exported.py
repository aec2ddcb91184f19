"""The folder that mvlm-export writes: a model with all that its use needs, without a pickle.

config.json        format, versions, architecture with all its options, image pipeline, tokenizer, training
model.safetensors  the weights; the eps of an encoder's norms where it is not the encoder's own
dict.txt           the dictionary, without <mask>
...                the tokenizer's own files, as in a data-bin
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..data.databin import DICTIONARY
from ..data.tokenizers import TOKENIZER_FILES
from ..interop.reading import WeightsError, read_json
from ..models.mvlm import MvlmModel
from .model_config import config_values, read_config
from .saved import Saved

FORMAT = "mvlm-plugin"
FORMAT_VERSION = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
# What config.json holds, and of what type.
_KEYS: dict[str, type] = {
    "format": str,
    "format_version": int,
    "package_version": str,
    "architecture": str,
    "model": dict,
    "eval_transform": str,
    "tokenizer": str,
    "training": dict,  # stage, trained_on, updates; provenance (training_record.py), where the checkpoint has it
}
_MOST_TEXT = 1000  # characters of a value
_MOST_IN_DICT = 10_000
_MOST_TRAINING = 1_000_000  # with the record of what made it: every shard, every resumption
_MOST_FILE = 64 * 2**20  # bytes of a file of the tokenizer


def write_export(saved: Saved, model: MvlmModel, version: str, folder: Path) -> None:
    """Fill a new folder.

    Args:
        saved: what the model was read from.
        model: with its weights.
        version: of this package.
        folder: to make.

    Raises:
        OSError: it exists, or cannot be written.
    """
    folder.mkdir()
    # Clones: a weight that has two names, as tied ones have, is written under both.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    for name in (DICTIONARY, *TOKENIZER_FILES[saved.tokenizer]):
        shutil.copyfile(saved.tokenizer_folder / name, folder / name)
    shutil.copymode(folder / DICTIONARY, folder / WEIGHTS)  # safetensors writes for the owner alone
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": version,
        "architecture": saved.architecture,
        "model": config_values(saved.cfg),
        "eval_transform": saved.eval_transform,
        "tokenizer": saved.tokenizer,
        "training": dict(saved.training),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def is_export(folder: Path) -> bool:
    """Whether mvlm-export wrote this folder, of whatever version."""
    try:
        return read_json(folder / CONFIG).get("format") == FORMAT
    except WeightsError:
        return False


def read_export(folder: Path) -> Saved:
    """An exported folder; of its weights only the header is read here.

    Raises:
        ValueError: it is no such folder, damaged, or of another version of the format.
    """
    config = _read_config(folder)
    kind = config["tokenizer"]
    if kind not in TOKENIZER_FILES:
        raise WeightsError(f"{folder}: unknown tokenizer {kind!r}; known: {', '.join(TOKENIZER_FILES)}")
    for name in (DICTIONARY, *TOKENIZER_FILES[kind]):
        _check_file(folder / name, _MOST_FILE)
    path = folder / WEIGHTS
    _check_file(path)
    return Saved(
        source=folder,
        architecture=config["architecture"],
        cfg=read_config(config["architecture"], config["model"]),
        eval_transform=config["eval_transform"],
        tokenizer=kind,
        tokenizer_folder=folder,
        training=config["training"],
        shapes=_shapes(path),
        read=lambda: _tensors(path),
    )


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise WeightsError(
            f"{folder} is no folder of mvlm-export: it has no {CONFIG}; give such a folder, or a checkpoint file, e.g. "
            "checkpoints/checkpoint_last.pt"
        )
    config = read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise WeightsError(f"{folder / CONFIG} was not written by mvlm-export: its format is not {FORMAT!r}")
    if config.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{folder} has format version {str(config.get('format_version'))[:40]}, this mvlm-plugin reads "
            f"{FORMAT_VERSION}: install the mvlm-plugin that wrote it ({str(config.get('package_version'))[:40]}), or "
            "export the checkpoint again"
        )
    _check_keys(config, folder / CONFIG)
    return config


def _check_keys(config: Mapping[str, Any], path: Path) -> None:
    if config.keys() != _KEYS.keys():
        missing = ", ".join(sorted(_KEYS.keys() - config.keys())) or "none"
        unknown = ", ".join(sorted(config.keys() - _KEYS.keys()))[:200] or "none"
        raise WeightsError(f"{path} is damaged: missing entries: {missing}; unknown entries: {unknown}")
    for name, kind in _KEYS.items():
        value = config[name]
        most = _MOST_TRAINING if name == "training" else _MOST_IN_DICT if kind is dict else _MOST_TEXT
        if not isinstance(value, kind) or len(str(value)) > most:
            raise WeightsError(f"{path} is damaged: {name} is no {kind.__name__}, or too long")


def _check_file(path: Path, most: int | None = None) -> None:
    if not path.is_file():
        raise WeightsError(f"{path.parent} lacks {path.name}; export the checkpoint again")
    if most is not None and path.stat().st_size > most:
        raise WeightsError(f"{path} has more than {most >> 20} MiB")


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a safetensors file, from its header."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path} is damaged: {' '.join(str(error).split())[:200]}; export the checkpoint again")


def publish(partial: Path, folder: Path) -> None:
    """Put a finished folder in its place in one step; an export that is there makes room.

    Raises:
        OSError: it cannot be moved.
    """
    if not folder.exists():
        partial.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old)
