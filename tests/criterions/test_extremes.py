"""Batches and temperatures at the edge of what there can be: losses and gradients are finite, and the values right."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.data.collate import collate
from mvlm_plugin.losses.contrastive import contrastive_losses
from mvlm_plugin.losses.negatives import sample_hard_negatives
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_batch, make_criterion, make_dictionary, make_model, make_samples, tiny_config

CFG = tiny_config(fusion_layers=1)


def identical(image_ids: list[int]) -> dict[str, Any]:
    """The same pixels and words in every pair."""
    sample = make_samples(CFG, (5,))[0]
    samples = [sample._replace(pair=place, image_id=image) for place, image in enumerate(image_ids)]
    return collate(samples, make_dictionary().pad())


def nothing_masked() -> dict[str, Any]:
    """Neither a word nor a pixel."""
    batch = make_batch(CFG, (0, 0, 0, 0))
    batch["net_input"]["block_mask"].zero_()
    return batch


# Batch, and what its losses are, summed over its pairs; None = not known beforehand.
BATCHES = {
    "one pair": (lambda: make_batch(CFG, (3,)), {"itc": 0.0}),
    "one pair of one word": (lambda: make_batch(CFG, (1,)), {"itc": 0.0}),
    "captions of one word": (lambda: make_batch(CFG, (1, 1, 1, 1)), {}),
    "captions of one image": (lambda: make_batch(CFG, (4, 1, 6), image_ids=(7, 7, 7)), {"itc": 0.0}),
    "identical pairs of several images": (lambda: identical([1, 2, 3, 4]), {"itc": 4 * math.log(4)}),
    "identical pairs of one image": (lambda: identical([1, 1, 1]), {"itc": 0.0}),
    "nothing masked": (nothing_masked, {"mlm": 0.0, "mim": 0.0}),
}


def step(model: MvlmModel, batch: dict[str, Any], autocast: bool) -> dict[str, torch.Tensor]:
    """Losses by name; gradients are left at the parameters."""
    torch.manual_seed(3)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else nullcontext():
        loss, _, log = make_criterion()(model, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert parameter.grad is None or parameter.grad.dtype == torch.float32
    return {name: log[f"{name}_loss"] for name in ("mlm", "mim", "itc", "itm")}


@pytest.mark.parametrize("temperature", [0.001, 0.07, 0.5])
@pytest.mark.parametrize("name", BATCHES)
def test_losses_and_gradients_are_finite_and_near_float32_in_bfloat16(name: str, temperature: float) -> None:
    model = make_model(CFG).eval()
    with torch.no_grad():
        model.contrastive.log_temperature.fill_(math.log(temperature))
    make, known = BATCHES[name]
    batch = make()
    plain, rounded = step(model, batch, autocast=False), step(model, batch, autocast=True)
    for objective, value in plain.items():
        assert rounded[objective].dtype == torch.float32
        if objective in known:
            assert value.item() == pytest.approx(known[objective], abs=1e-3)
            assert rounded[objective].item() == pytest.approx(known[objective], abs=1e-3)
        elif objective != "itc" or temperature > 0.01:  # a rounded embedding is a large step at a small temperature
            assert rounded[objective].item() == pytest.approx(value.item(), rel=0.03)


@pytest.mark.parametrize(("learned", "expected"), [(-100.0, 0.001), (100.0, 0.5)])
def test_a_temperature_that_ran_away_is_brought_back(learned: float, expected: float) -> None:
    model = make_model(CFG).eval()
    with torch.no_grad():
        model.contrastive.log_temperature.fill_(learned)
    losses = step(model, make_batch(CFG), autocast=False)
    assert model.contrastive.temperature.item() == pytest.approx(expected)
    assert losses["itc"].isfinite()


@pytest.mark.parametrize("opposite", [False, True], ids=["partners most similar", "partners least similar"])
def test_the_contrastive_loss_is_right_at_the_smallest_temperature(opposite: bool) -> None:
    """Logits are up to 1000 apart there, which softmaxes in float32 must survive."""
    generator = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(6, 8, generator=generator), dim=1).requires_grad_()
    texts = -images.detach() if opposite else images.detach()
    temperature = torch.tensor(0.001, requires_grad=True)
    loss = contrastive_losses(images, texts, temperature, torch.arange(6)).loss
    loss.sum().backward()
    exact = (images.detach().double() @ texts.double().T) / 0.001
    own = torch.arange(6)
    expected = (F.cross_entropy(exact, own, reduction="none") + F.cross_entropy(exact.T, own, reduction="none")) / 2
    torch.testing.assert_close(loss.detach().double(), expected, rtol=1e-5, atol=1e-4)
    assert images.grad.isfinite().all()
    assert temperature.grad.isfinite()


@pytest.mark.parametrize("temperature", [0.001, 0.5])
def test_hard_negatives_at_extreme_temperatures(temperature: float) -> None:
    """Never of the own image; at the smallest temperature the most similar ones that are allowed."""
    image_ids = torch.tensor([0, 0, 1, 2, 3, 3])
    generator = torch.Generator().manual_seed(1)
    images, texts = (F.normalize(torch.randn(6, 8, generator=generator), dim=1) for _ in range(2))
    allowed = (images @ texts.T).masked_fill(image_ids[:, None] == image_ids, -math.inf)
    for _ in range(20):
        drawn = sample_hard_negatives(images, texts, torch.tensor(temperature), image_ids)
        assert drawn.has_text.all()
        assert drawn.has_image.all()
        assert (image_ids[drawn.text_of_image] != image_ids).all()
        assert (image_ids[drawn.image_of_text] != image_ids).all()
        if temperature == 0.001:
            assert torch.equal(drawn.text_of_image, allowed.argmax(dim=1))
            assert torch.equal(drawn.image_of_text, allowed.argmax(dim=0))
