from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mvlm_plugin.encoders.efficientnet_lite import build_efficientnet_lite0
from mvlm_plugin.encoders.hybrid import HybridVisionTransformer, build_hybrid_vit_tiny_patch16
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.models.config import ConfigError
from tests.helpers import make_dictionary, make_model, tiny_config

pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'lite' is not installed")


@pytest.fixture
def hybrid() -> HybridVisionTransformer:
    options = SimpleNamespace(image_size=64, train_batch_norm=False, dropout=0.0)
    torch.manual_seed(0)
    encoder = build_hybrid_vit_tiny_patch16(options)
    load_pretrained(
        SimpleNamespace(image_encoder=encoder),
        tiny_config(image_encoder="hybrid_vit_tiny_patch16", image_size=64, image_encoder_weights="packaged"),
        make_dictionary(),
        Path(),
    )
    return encoder.eval()


@torch.no_grad()
def test_a_hybrid_sees_neither_masked_pixels_nor_their_features(hybrid: HybridVisionTransformer) -> None:
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[1, 5] = True
    images = torch.randn(1, 3, 64, 64)
    hidden, visible = images.clone(), images.clone()
    hidden[:, :, 16:32, 16:32] = 9.0
    visible[:, :, 0:16, 16:32] = 9.0
    views = hybrid(images, mask)
    assert views.shape == (2, 17, 128)
    torch.testing.assert_close(views[:1], hybrid(images))
    assert torch.equal(hybrid(hidden, mask)[1], views[1])
    assert not torch.allclose(hybrid(hidden, mask)[0], views[0])
    assert not torch.allclose(hybrid(visible, mask)[1], views[1])


@torch.no_grad()
def test_a_hybrids_features_are_those_of_the_pre_trained_network(hybrid: HybridVisionTransformer) -> None:
    images = torch.randn(2, 3, 64, 64)
    options = SimpleNamespace(image_size=64, train_batch_norm=False)
    whole = build_efficientnet_lite0(options)
    own = torch.load(whole.packaged_weights(), weights_only=True)
    whole.load_state_dict(whole.convert_weights(own), strict=False)
    expected = whole.eval().rescale(images)
    for stage in whole.stages[:5]:
        expected = stage(expected)
    assert expected.std() > 0.1
    torch.testing.assert_close(hybrid.stem.feature_map(images), expected)


@pytest.mark.parametrize(("stages", "trained"), [(0, "stem.stages.0"), (2, "stem.stages.2"), (5, "patch_embedding")])
def test_a_hybrid_is_frozen_from_its_convolutions_on(
    hybrid: HybridVisionTransformer, stages: int, trained: str
) -> None:
    hybrid.freeze(stages)
    hybrid.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    names = [name for name, parameter in hybrid.named_parameters() if parameter.grad is not None]
    assert any(name.startswith(trained) for name in names)
    assert not any(name.startswith(f"stem.stages.{stage}.") for stage in range(stages) for name in names)


def test_a_hybrid_freezes_blocks_after_its_convolutions(hybrid: HybridVisionTransformer) -> None:
    hybrid.freeze(7)
    trained = {name for name, parameter in hybrid.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("stem.", "patch_embedding.", "blocks.1.")) for name in trained)
    assert any(name.startswith("blocks.2.") for name in trained)
    with pytest.raises(ValueError, match="this image encoder has 9"):
        hybrid.freeze(10)


def test_it_is_built_by_name_and_cannot_leave_masked_patches_out() -> None:
    options = {"image_encoder": "hybrid_vit_tiny_patch16", "image_mask_block": 16}
    encoder = make_model(tiny_config(**options)).image_encoder
    assert isinstance(encoder, HybridVisionTransformer)
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, 5, 128)
    with pytest.raises(ConfigError, match="cannot encode single patches"):
        make_model(tiny_config(**options, visible_patches_only=True))
