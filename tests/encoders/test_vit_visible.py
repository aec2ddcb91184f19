"""Images of which only the visible patches are encoded."""

import pytest
import torch
from torch import Tensor

from mvlm_plugin.encoders.vit import VisionTransformer
from mvlm_plugin.modules.patches import patchify
from tests.helpers import roughen

VISIBLE = 6


@pytest.fixture
def model() -> VisionTransformer:
    encoder = VisionTransformer(image_size=16, patch_size=4, width=12, layers=2, heads=3, visible_patches=VISIBLE)
    return roughen(encoder).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 3, 16, 16)


@pytest.fixture
def mask() -> Tensor:
    return torch.rand(5, 16).argsort(dim=1) >= VISIBLE


def one_image(model: VisionTransformer, image: Tensor, mask: Tensor) -> Tensor:
    """Visible patches taken one by one, encoded by themselves, and put back."""
    places = [place for place in range(16) if not mask[place]]
    patches = patchify(image[None], 4)[0]
    tokens = [model.cls_token[0, 0] + model.position_embedding[0, 0]]
    tokens += [model.patch_embedding.projection(patches[p]) + model.position_embedding[0, 1 + p] for p in places]
    x = torch.stack(tokens)[None]
    for block in model.blocks:
        x = block(x)
    x = model.norm(x)[0]
    encoded = dict(zip(places, x[1:], strict=True))
    filled = [encoded.get(p, model.mask_token[0, 0] + model.position_embedding[0, 1 + p]) for p in range(16)]
    return torch.stack([x[0], *filled])


@torch.no_grad()
def test_equal_to_encoding_the_visible_patches_one_image_at_a_time(
    model: VisionTransformer, images: Tensor, mask: Tensor
) -> None:
    expected = torch.stack([one_image(model, *pair) for pair in zip(images, mask, strict=True)])
    torch.testing.assert_close(model(images, mask), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_masked_pixels_have_no_influence_and_visible_ones_have(
    model: VisionTransformer, images: Tensor, mask: Tensor
) -> None:
    # (B, P) mask of patches -> (B, 1, 16, 16) mask of pixels
    pixels = mask.view(5, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(model(torch.where(pixels, 9.0, images), mask), model(images, mask))
    changed = (model(torch.where(pixels, images, 9.0), mask) - model(images, mask)).abs().sum(dim=2) > 0
    assert torch.equal(changed[:, 1:], ~mask)


@torch.no_grad()
def test_a_whole_image_is_encoded_as_ever(model: VisionTransformer, images: Tensor) -> None:
    faithful = VisionTransformer(image_size=16, patch_size=4, width=12, layers=2, heads=3).eval()
    faithful.load_state_dict(model.state_dict())
    assert torch.equal(model(images), faithful(images))


def test_another_number_of_visible_patches_is_refused(model: VisionTransformer, images: Tensor, mask: Tensor) -> None:
    mask[2] = True
    with pytest.raises(RuntimeError, match="other numbers of visible patches"):
        model(images, mask)
