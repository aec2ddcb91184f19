"""From a checkpoint or an exported folder to a model that is ready for use."""

import os
from pathlib import Path

import torch

from ..data.transforms import Pipeline, default_eval_transform
from .checkpoint import read_checkpoint
from .exported import read_export
from .model import VisionLanguageModel
from .saved import Saved, build_model, build_tokenizer


def load(
    path: str | os.PathLike[str], data: str | None = None, device: str | torch.device | None = None
) -> VisionLanguageModel:
    """A trained model for use.

    Components and image operations of your own must be imported before. No code of the files runs, nothing is
    downloaded, and no image of the training is needed.

    Args:
        path: checkpoint that fairseq-train wrote (pre-training or retrieval), or a folder that mvlm-export wrote.
        data: of a checkpoint: the data-bin with its tokenizer, where that no longer lies where the training found it.
        device: torch device; None: cuda where there is one, else cpu.

    Raises:
        OSError: no such file.
        ValueError: it is damaged, of another program or task, or its parts do not belong together.
        DataBinError: the tokenizer is missing or damaged.
        ImportError: the model needs a package that is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a checkpoint file or a folder that mvlm-export wrote")
    if path.is_dir() and data is not None:
        raise ValueError(f"{path} is a folder and holds its own tokenizer; leave data away")
    return build(read_export(path) if path.is_dir() else read_checkpoint(path, data), device)


def build(saved: Saved, device: str | torch.device | None = None) -> VisionLanguageModel:
    """The model of what was read; arguments and errors as of load()."""
    tokenizer = build_tokenizer(saved)
    model = build_model(saved, tokenizer.dictionary)
    pipeline = _pipeline(saved)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return VisionLanguageModel(model.to(device), tokenizer, pipeline)


def _pipeline(saved: Saved) -> Pipeline:
    """How held-out images of the training were read."""
    try:
        pipeline = Pipeline(saved.eval_transform or default_eval_transform(), saved.cfg.image_size, allow_random=False)
    except ValueError as error:
        raise ValueError(f"{saved.source}: {error} Import operations of your own before load().") from error
    if pipeline.needs_caption:
        raise ValueError(f"{saved.source}: {pipeline.text!r} reads captions, and images come without one here")
    return pipeline
