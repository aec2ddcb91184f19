from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mvlm_plugin.encoders.conv_vit import (
    ConvolutionalVisionTransformer,
    HybridVisionTransformer,
    build_hybrid_vit_tiny_patch16,
)
from mvlm_plugin.encoders.efficientnet_lite import build_efficientnet_lite0
from mvlm_plugin.encoders.vit import VitSize
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.models.config import ConfigError
from mvlm_plugin.modules.convolutional_stem import ConvolutionalStem
from tests.helpers import make_dictionary, make_model, roughen, tiny_config


@pytest.fixture
def model() -> ConvolutionalVisionTransformer:
    return roughen(ConvolutionalVisionTransformer(16, VitSize(4, 12, 2, 3))).eval()


@torch.no_grad()
def test_masked_pixels_are_not_seen_by_any_patch_and_visible_ones_are(model: ConvolutionalVisionTransformer) -> None:
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 5] = True  # second row, second column of patches; its neighbours' convolutions reach into it
    images = torch.randn(1, 3, 16, 16)
    hidden, visible = images.clone(), images.clone()
    hidden[:, :, 4:8, 4:8] = 9.0
    visible[:, :, 0:4, 4:8] = 9.0
    assert torch.equal(model(hidden, mask), model(images, mask))
    assert not torch.equal(model(visible, mask), model(images, mask))
    assert not torch.equal(model(hidden), model(images))


@torch.no_grad()
def test_views_of_all_images_come_one_after_the_other(model: ConvolutionalVisionTransformer) -> None:
    images, mask = torch.randn(3, 3, 16, 16), torch.rand(3, 16) < 0.5
    views = model(images, torch.cat([torch.zeros_like(mask), mask]))
    assert views.shape == (6, 17, 12)
    torch.testing.assert_close(views[:3], model(images))
    for row in range(3):
        torch.testing.assert_close(views[3 + row], model(images[row : row + 1], mask[row : row + 1])[0])


@torch.no_grad()
def test_a_masked_patch_is_a_mask_token_with_its_place(model: ConvolutionalVisionTransformer) -> None:
    every = torch.ones(1, 16, dtype=torch.bool)
    features = model(torch.randn(1, 3, 16, 16), every)
    assert torch.equal(features, model(torch.randn(1, 3, 16, 16), every))
    assert not torch.allclose(features[0, 1], features[0, 2])


@torch.no_grad()
def test_a_patch_is_embedded_from_what_is_near() -> None:
    stem = roughen(ConvolutionalStem(4, 8)).eval()
    images = torch.randn(1, 3, 32, 32)
    changed = images.clone()
    changed[:, :, :4, :4] = 9.0
    differs = (stem(images) != stem(changed)).any(dim=2).view(8, 8)
    assert differs[0, 0]
    assert not differs[3:].any()
    assert not differs[:, 3:].any()


def test_a_frozen_stem_is_not_trained(model: ConvolutionalVisionTransformer) -> None:
    model.freeze(1)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is None for parameter in model.patch_embedding.parameters())
    assert all(parameter.grad is not None for parameter in model.blocks[1].parameters())


@pytest.mark.parametrize("size", [1, 3, 12])
def test_patches_that_cannot_be_halved_to_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"2, 4, 8, ... pixels, not {size}"):
        ConvolutionalStem(size, 8)


@pytest.fixture
def hybrid() -> HybridVisionTransformer:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'lite' is not installed")
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
    for stage in whole.stages[:4]:
        expected = stage(expected)
    assert expected.std() > 0.1
    torch.testing.assert_close(hybrid.stem.feature_map(images), expected)


@pytest.mark.parametrize(("stages", "trained"), [(0, "stem.stages.0"), (2, "stem.stages.2"), (4, "patch_embedding")])
def test_a_hybrid_is_frozen_from_its_convolutions_on(
    hybrid: HybridVisionTransformer, stages: int, trained: str
) -> None:
    hybrid.freeze(stages)
    hybrid.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    names = [name for name, parameter in hybrid.named_parameters() if parameter.grad is not None]
    assert any(name.startswith(trained) for name in names)
    assert not any(name.startswith(f"stem.stages.{stage}.") for stage in range(stages) for name in names)


def test_a_hybrid_freezes_blocks_after_its_convolutions(hybrid: HybridVisionTransformer) -> None:
    hybrid.freeze(6)
    trained = {name for name, parameter in hybrid.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(("stem.", "patch_embedding.", "feature_norm.", "blocks.1.")) for name in trained)
    assert any(name.startswith("blocks.2.") for name in trained)
    with pytest.raises(ValueError, match="this encoder has 8"):
        hybrid.freeze(9)


def test_it_is_built_by_name_and_cannot_leave_masked_patches_out() -> None:
    cfg = tiny_config(image_encoder="conv_vit_tiny_patch8")
    encoder = make_model(cfg).image_encoder
    assert isinstance(encoder, ConvolutionalVisionTransformer)
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, 17, 128)
    with pytest.raises(ConfigError, match="cannot encode single patches"):
        make_model(tiny_config(image_encoder="conv_vit_tiny_patch8", visible_patches_only=True))
