"""Compares converted weights with a module and loads them, with every name and shape that does not match in full."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .reading import WeightsError


class Fitted(NamedTuple):
    """What of some weights a module can take.

    tensors: that fit.
    problems: a line for each name or shape that does not match.
    new: parameters that no tensor is there for, and that may be new.
    """

    tensors: dict[str, Tensor]
    problems: list[str]
    new: list[str]


def fit(tensors: Mapping[str, Tensor], module: nn.Module, may_be_new: Collection[str] = ()) -> Fitted:
    """Sort weights with our names by whether a module has a place for them.

    Args:
        tensors: converted weights.
        module: they are for.
        may_be_new: parameters whose absence is no problem.
    """
    own = module.state_dict()
    fitted = Fitted({}, [], [])
    for name, tensor in tensors.items():
        if name not in own:
            fitted.problems.append(f"unexpected: {name} {tuple(tensor.shape)}")
        elif tensor.shape != own[name].shape:
            shapes = f"{tuple(tensor.shape)} in the file, {tuple(own[name].shape)} in the model"
            fitted.problems.append(f"wrong shape: {name} is {shapes}")
        elif tensor.is_floating_point() != own[name].is_floating_point():
            fitted.problems.append(f"wrong type: {name} is {tensor.dtype} in the file, {own[name].dtype} in the model")
        elif not torch.isfinite(tensor).all():
            fitted.problems.append(f"not finite: {name}")
        else:
            fitted.tensors[name] = tensor
    for name in own:
        if name not in tensors and name in may_be_new:
            fitted.new.append(name)
        elif name not in tensors:
            fitted.problems.append(f"missing: {name} {tuple(own[name].shape)}")
    return fitted


def load(fitted: Fitted, module: nn.Module, component: str, size: str, allow_mismatch: bool) -> None:
    """Copy what fits into a module.

    Args:
        fitted: from fit(), perhaps with more problems.
        module: it was made for.
        component: option and name that the module was chosen by, for the message.
        size: of the source, for the message.
        allow_mismatch: problems are no error.

    Raises:
        WeightsError: there are problems that are not allowed, listed in full, or nothing fits.
    """
    lines = "".join(f"\n  {problem}" for problem in fitted.problems)
    if not fitted.tensors:
        raise WeightsError(f"nothing of it fits {component}; the source has {size}:{lines}")
    if fitted.problems and not allow_mismatch:
        count = "1 mismatch" if len(fitted.problems) == 1 else f"{len(fitted.problems)} mismatches"
        raise WeightsError(
            f"{count} with {component}; the source has {size}: choose a component like it, "
            f"or load what fits with --allow-weight-mismatch:{lines}"
        )
    module.load_state_dict(fitted.tensors, strict=False)


def size_of(converted: Mapping[str, Tensor]) -> str:
    """Width and depth of converted weights, in words."""
    blocks = {match[1] for name in converted if (match := re.match(r"blocks\.(\d+)\.", name))}
    width = next((tensor.size(0) for name, tensor in converted.items() if name.endswith("norm.weight")), None)
    return f"{len(blocks)} blocks" + (f" of width {width}" if width else "")


def names_in_full(names: Sequence[str]) -> str:
    """Names, sorted and joined."""
    return ", ".join(sorted(names))
