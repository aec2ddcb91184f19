"""Optimizers for tiny models, and gradients that need no data."""

from typing import Any

import torch
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf

from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.optim.adamw_parts import AdamWParts, AdamWPartsConfig
from tests.helpers import make_model, roughen, tiny_config

RATES = {"main": 3e-4, "image_encoder": 1e-5, "text_encoder": 2e-5}


def make_optimizer(model: MvlmModel, **options: Any) -> AdamWParts:
    """adamw_parts as fairseq's trainer builds it, with RATES unless options say otherwise."""
    rates = {"lr": [RATES["main"]], "image_encoder_lr": 1e-5, "text_encoder_lr": 2e-5}
    cfg = OmegaConf.structured(AdamWPartsConfig(**{**rates, "_name": "adamw_parts", **options}))
    return build_optimizer(cfg, list(model.parameters()))


def make_rough_model() -> MvlmModel:
    """A tiny model in which no parameter is zero."""
    return roughen(make_model(tiny_config()))


def set_gradients(model: MvlmModel, seed: int) -> None:
    """Random gradients of every trained parameter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = gradient if parameter.requires_grad else None


def update(model: MvlmModel, optimizer: AdamWParts, seed: int) -> None:
    """One update with random gradients."""
    set_gradients(model, seed)
    optimizer.step()
