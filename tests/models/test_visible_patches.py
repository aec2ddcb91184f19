"""The variant in which a masked image is encoded as its visible patches only."""

import math
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary
from torch.utils.flop_counter import FlopCounterMode

from mvlm_plugin.models.architectures import MvlmBaseConfig
from mvlm_plugin.models.config import ConfigError
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_batch, make_criterion, make_model, roughen, tiny_config

ROBERTA_WORDS = 50265
CAPTION_TOKENS = 30


@pytest.mark.parametrize("mask_both", [False, True])
def test_every_parameter_gets_a_gradient(mask_both: bool) -> None:
    cfg = tiny_config(visible_patches_only=True, mask_both=mask_both)
    model = make_model(cfg)
    loss, _, _ = make_criterion()(model, make_batch(cfg))
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@torch.no_grad()
def test_only_masked_image_features_differ_from_the_faithful_model() -> None:
    model = roughen(make_model(tiny_config(visible_patches_only=True)), scale=0.05).eval()
    faithful = make_model(tiny_config()).eval()
    faithful.load_state_dict(model.state_dict())
    inputs = make_batch(model.cfg)["net_input"]
    pixels, image_mask = model.normalize(inputs["images"]), model.patch_mask(inputs["block_mask"])
    arguments = (pixels, image_mask, inputs["tokens"], inputs["masked_tokens"])
    actual, expected = model.encode_views(*arguments), faithful.encode_views(*arguments)
    for name in ("image", "text", "masked_text"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name))
    assert actual.masked_image.shape == expected.masked_image.shape
    assert not torch.allclose(actual.masked_image, expected.masked_image)
    torch.testing.assert_close(actual.masked_image, model.encode_image(pixels, image_mask))


def test_blocks_that_overhang_the_image_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="--visible-patches-only needs --image-mask-block 24 to divide --image-size 64"
    ):
        make_model(tiny_config(visible_patches_only=True, image_size=64, image_mask_block=24))


def gflop_a_pair(**options: Any) -> float:
    """Of forward and backward of all four losses at base size, counted on the meta device."""
    dictionary = Dictionary()
    for word in range(ROBERTA_WORDS - len(dictionary)):
        dictionary.add_symbol(f"w{word}")
    cfg = MvlmBaseConfig(**options)
    pairs, masked = 4, math.ceil(cfg.text_mask_ratio * (CAPTION_TOKENS - 2))
    with torch.device("meta"):
        model = MvlmModel(cfg, dictionary)
        tokens = torch.zeros(pairs, CAPTION_TOKENS, dtype=torch.int64)
        words = torch.zeros(pairs * masked, dtype=torch.int64)
        inputs = {
            "images": torch.zeros(pairs, 3, 224, 224, dtype=torch.uint8),
            "tokens": tokens,
            "image_ids": torch.zeros(pairs, dtype=torch.int64),
            "masked_tokens": tokens,
            "mlm_positions": words,
            "block_mask": torch.zeros(pairs, 7, 7, dtype=torch.bool),
        }
        sample = {"net_input": inputs, "mlm_targets": words, "nsentences": pairs, "ntokens": 0, "bad_images": 0}
        with FlopCounterMode(display=False) as counter:
            loss, _, _ = make_criterion()(model, sample)
            loss.backward()
    return counter.get_total_flops() / pairs / 1e9


def test_the_step_at_base_size_costs_what_it_must() -> None:
    faithful, variant = gflop_a_pair(), gflop_a_pair(visible_patches_only=True)
    assert 300 < faithful < 385
    assert variant < min(320, faithful - 50)
