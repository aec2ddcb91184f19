from typing import Any

import pytest

from mvlm_plugin.models.architectures import MvlmBaseConfig
from mvlm_plugin.models.config import ConfigError, validate
from tests.helpers import make_model, tiny_config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_mask_ratio": 0.0}, r"--image-mask-ratio 0\.0 must lie between 0 and 1"),
        ({"image_mask_ratio": 1.0}, r"--image-mask-ratio 1\.0 must lie between 0 and 1"),
        ({"text_mask_ratio": 1.5}, r"--text-mask-ratio 1\.5 must lie between 0 and 1"),
        ({"text_mask_ratio": -0.1}, r"--text-mask-ratio -0\.1 must lie"),
        (
            {"image_mask_block": 12},
            r"--image-mask-block 12 must be a multiple of the patch size 8 of --image-encoder vit",
        ),
        ({"image_mask_block": 32}, r"--image-mask-block 32 must be smaller than --image-size 32"),
        ({"fusion_heads": 3}, r"--fusion-heads 3 must divide --fusion-width 128"),
        ({"max_text_tokens": 2}, r"--max-text-tokens 2 leaves no room"),
    ],
)
def test_options_that_cannot_work_are_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model(tiny_config(**overrides))


def test_the_defaults_of_base_are_the_papers_and_valid() -> None:
    cfg = MvlmBaseConfig()
    validate(cfg, 16)
    masks = (cfg.image_mask_ratio, cfg.image_mask_block, cfg.text_mask_ratio, cfg.mask_both)
    assert masks == (0.6, 32, 0.3, False)
    assert (cfg.image_size, cfg.image_encoder, cfg.text_encoder) == (224, "vit_base_patch16", "roberta_base")
    assert (cfg.fusion_width, cfg.fusion_layers, cfg.decoder_layers) == (768, 3, 3)


def test_an_image_that_is_no_whole_number_of_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="30 is not divisible by the patch size 8"):
        make_model(tiny_config(image_size=30))
