"""What all subjects of benchmarks/step.py share: sizes, and what a subject is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Size(NamedTuple):
    """A setting that all subjects share."""

    image: int  # pixels a side
    patch: int
    width: int
    layers: int  # of each encoder
    heads: int
    batch: int
    tokens: int  # a caption, <s> and </s> counted


SIZES = {"base": Size(224, 16, 768, 12, 12, 8, 30), "tiny": Size(64, 8, 128, 4, 4, 64, 16)}


class Subject(NamedTuple):
    """Something that trains. ``loss`` runs the forward pass on a batch and gives the scalar to differentiate."""

    model: nn.Module
    loss: Callable[[], Tensor]
    batch: int


def on_device(value: Any, device: torch.device) -> Any:
    """A batch whose tensors are on a device."""
    if isinstance(value, dict):
        return {name: on_device(entry, device) for name, entry in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
