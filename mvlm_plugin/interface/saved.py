"""What is known of a saved model before its weights are read, and a model made of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.tokenizers import CaptionTokenizer, build_splitter, load_dictionary
from ..interop.dictionary_digest import ENTRY, check_digest
from ..interop.norm_eps import EPS_ENTRIES, restore_norm_eps
from ..interop.reading import WeightsError
from ..models.config import ConfigError, MvlmConfig
from ..models.mvlm import MvlmModel

_SHOWN = 5  # names in a message, at most


class Saved(NamedTuple):
    """A saved model.

    source: file or folder, for messages; architecture: name of the preset; cfg: of the model; eval_transform: the image
    pipeline, empty for the default; tokenizer: its kind; tokenizer_folder: where its files and dict.txt lie; training:
    stage, data and updates; shapes: of all tensors; read: gives the tensors.
    """

    source: Path
    architecture: str
    cfg: MvlmConfig
    eval_transform: str
    tokenizer: str
    tokenizer_folder: Path
    training: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[], dict[str, Tensor]]


def build_tokenizer(saved: Saved) -> CaptionTokenizer:
    """The tokenizer with the model's dictionary, <mask> as its last symbol.

    Raises:
        DataBinError: its files are missing or damaged, or it needs a package that is not installed.
    """
    dictionary = load_dictionary(saved.tokenizer_folder)
    dictionary.add_symbol("<mask>")
    return CaptionTokenizer(build_splitter(saved.tokenizer, saved.tokenizer_folder), dictionary)


def build_model(saved: Saved, dictionary: Any) -> MvlmModel:
    """The model with its weights, in eval mode on the CPU. No random numbers are taken from torch's generator.

    The shapes are compared with those of a model without memory first: no size is believed that the weights do not
    bear out.

    Raises:
        ValueError: config, dictionary and weights do not belong together, or weights are not finite.
        ImportError: a component needs a package that is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        expected = _without_memory(saved, dictionary)
        _compare(saved, expected)
        tensors = saved.read()
        _check_values(saved, tensors, expected)
        model = MvlmModel(saved.cfg, dictionary)
    try:
        check_digest(tensors, model)
    except ValueError as error:
        raise WeightsError(f"{saved.source}: {error}") from error
    restore_norm_eps(tensors, model)
    # Past fairseq's hooks, which fit other checkpoints to a model, and tell of it.
    nn.Module.load_state_dict(model, tensors)
    return model.eval()


def _without_memory(saved: Saved, dictionary: Any) -> dict[str, Tensor]:
    """The state dict of the config's model on the meta device."""
    try:
        with torch.device("meta"):
            return MvlmModel(saved.cfg, dictionary).state_dict()
    except (ConfigError, ImportError):
        raise
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{saved.source}: its config makes no model: {error}") from error


def _compare(saved: Saved, expected: Mapping[str, Tensor]) -> None:
    """Names and shapes of the saved tensors with those of the model."""
    apart = {*EPS_ENTRIES, ENTRY}
    found = {name: shape for name, shape in saved.shapes.items() if name not in apart or shape != ()}
    expected = {name: tensor for name, tensor in expected.items() if name != ENTRY}
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    other = [
        f"{name} {found[name]} in place of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name] != tuple(tensor.shape)
    ]
    problems = {"missing": missing, "unknown": unexpected, "of another shape": other}
    listed = [f"{what}: {_shortened(names)}" for what, names in problems.items() if names]
    if not listed:
        return
    hint = ""
    if any(name.startswith("text_encoder.token_embedding") for name in other):
        hint = f"; is {saved.tokenizer_folder} the data-bin (or a copy of its tokenizer) that the model was trained on?"
    raise WeightsError(f"{saved.source}: weights do not fit the config: {'; '.join(listed)}{hint}")


def _check_values(saved: Saved, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if name == ENTRY:  # an integer, read as one or as float32
            continue
        kind = expected[name].dtype if name in expected else torch.float64
        if tensor.dtype != kind:
            raise WeightsError(f"{saved.source}: {name} is of type {tensor.dtype} in place of {kind}")
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{saved.source}: {name} has values that are not finite; take an earlier checkpoint")
        if name in EPS_ENTRIES and not 0.0 < float(tensor) < 1.0:
            raise WeightsError(f"{saved.source}: {name} is {float(tensor)}; it must lie between 0 and 1")


def _shortened(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
