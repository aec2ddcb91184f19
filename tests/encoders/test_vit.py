import pytest
import torch

from mvlm_plugin.encoders.vit import VisionTransformer
from tests.helpers import roughen


@pytest.fixture
def model() -> VisionTransformer:
    return roughen(VisionTransformer(image_size=16, patch_size=4, width=12, layers=2, heads=3)).eval()


@torch.no_grad()
def test_masked_pixels_are_not_seen_and_visible_ones_are(model: VisionTransformer) -> None:
    mask = torch.zeros(1, 16, dtype=torch.bool)
    mask[0, 5] = True  # second row, second column of patches
    images = torch.randn(1, 3, 16, 16)
    hidden, visible = images.clone(), images.clone()
    hidden[:, :, 4:8, 4:8] = 9.0
    visible[:, :, 0:4, 4:8] = 9.0
    assert torch.equal(model(hidden, mask), model(images, mask))
    assert not torch.equal(model(visible, mask), model(images, mask))
    assert not torch.equal(model(hidden), model(images))


@torch.no_grad()
def test_views_of_all_images_come_one_after_the_other(model: VisionTransformer) -> None:
    images, mask = torch.randn(3, 3, 16, 16), torch.rand(3, 16) < 0.5
    views = model(images, torch.cat([torch.zeros_like(mask), mask]))
    assert views.shape == (6, 17, 12)
    torch.testing.assert_close(views[:3], model(images))
    for row in range(3):
        torch.testing.assert_close(views[3 + row], model(images[row : row + 1], mask[row : row + 1])[0])


@torch.no_grad()
def test_a_masked_patch_still_has_its_place(model: VisionTransformer) -> None:
    features = model(torch.randn(1, 3, 16, 16), torch.ones(1, 16, dtype=torch.bool))
    assert not torch.allclose(features[0, 1], features[0, 2])


def test_an_image_that_is_no_whole_number_of_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="15 is not divisible by the patch size 4"):
        VisionTransformer(image_size=15, patch_size=4, width=12, layers=1, heads=3)
