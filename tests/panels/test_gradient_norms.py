"""Gradient norms of single losses, against backward passes of their own."""

from contextlib import nullcontext

import pytest
import torch

from mvlm_plugin.panels.gradient_norms import gradient_norms
from tests.helpers import make_batch, make_criterion, make_model, roughen, tiny_config

WEIGHTS = {"mlm": 1.0, "mim": 3.0, "itc": 0.5, "itm": 2.0}


def test_norms_are_those_of_each_weighted_loss_alone() -> None:
    model = roughen(make_model(tiny_config()), scale=0.05).eval()
    batch = make_batch(model.cfg)
    torch.manual_seed(0)
    norms = gradient_norms(model, make_criterion(**WEIGHTS), batch, nullcontext())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert len(norms) == 8
    for objective, weight in WEIGHTS.items():
        alone = make_criterion(**{name: weight * (name == objective) for name in WEIGHTS})
        model.zero_grad()
        torch.manual_seed(0)  # of hard negatives
        loss, pairs, _ = alone(model, batch)
        (loss / pairs).backward()
        for encoder in ("image_encoder", "text_encoder"):
            gradients = [p.grad.flatten() for p in getattr(model, encoder).parameters() if p.grad is not None]
            expected = float(torch.cat(gradients).norm())
            assert expected > 1e-3
            assert float(norms[f"{encoder}/{objective}"]) == pytest.approx(expected, rel=1e-4)


def test_gradients_that_are_there_are_left_alone() -> None:
    model = make_model(tiny_config()).eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    gradient_norms(model, make_criterion(), make_batch(model.cfg), nullcontext())
    assert all(bool((parameter.grad == 1).all()) for parameter in model.parameters())


def test_frozen_encoders_have_no_norms() -> None:
    model = make_model(tiny_config()).eval()
    model.image_encoder.requires_grad_(False)
    batch = make_batch(model.cfg)
    assert list(gradient_norms(model, make_criterion(mlm=0, itm=0), batch, nullcontext())) == [
        "text_encoder/mim",
        "text_encoder/itc",
    ]
    model.text_encoder.requires_grad_(False)
    assert gradient_norms(model, make_criterion(), batch, nullcontext()) == {}
