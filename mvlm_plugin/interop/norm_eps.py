"""The eps of an encoder's norms: no weight, but part of what pre-trained weights compute; a checkpoint carries it."""

from typing import Any

import torch
from torch import nn

from ..models.parameter_groups import ENCODER_PARTS

KEY = "norm_eps"
# What save_norm_eps() may add to the state dict of a model.
EPS_ENTRIES = tuple(f"{part}.{KEY}" for part in ENCODER_PARTS)


def set_norm_eps(encoder: nn.Module, eps: float) -> None:
    """Give all norms of an encoder the eps of its source."""
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    setattr(encoder, KEY, eps)


def save_norm_eps(model: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]) -> None:
    """Hook after state_dict(): add ``image_encoder.norm_eps`` and ``text_encoder.norm_eps`` where they were set."""
    for part in ENCODER_PARTS:
        eps = getattr(getattr(model, part), KEY, None)
        if eps is not None:
            state[f"{prefix}{part}.{KEY}"] = torch.tensor(eps, dtype=torch.float64)


def restore_norm_eps(state: dict[str, Any], model: nn.Module) -> None:
    """Before load_state_dict(): take what save_norm_eps() added out of a state dict, and set it."""
    for part in ENCODER_PARTS:
        eps = state.pop(f"{part}.{KEY}", None)
        if eps is not None:
            set_norm_eps(getattr(model, part), float(eps))
