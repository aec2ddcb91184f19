import pytest
import torch

from mvlm_plugin.encoders.conv_vit import ConvolutionalVisionTransformer
from mvlm_plugin.encoders.vit import VitSize
from mvlm_plugin.models.config import ConfigError
from mvlm_plugin.modules.convolutional_stem import ConvolutionalStem
from tests.helpers import make_model, roughen, tiny_config


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


def test_it_is_built_by_name_and_cannot_leave_masked_patches_out() -> None:
    cfg = tiny_config(image_encoder="conv_vit_tiny_patch8")
    encoder = make_model(cfg).image_encoder
    assert isinstance(encoder, ConvolutionalVisionTransformer)
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, 17, 128)
    with pytest.raises(ConfigError, match="cannot encode single patches"):
        make_model(tiny_config(image_encoder="conv_vit_tiny_patch8", visible_patches_only=True))
