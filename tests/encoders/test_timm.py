import sys

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin.encoders import timm as subject
from mvlm_plugin.encoders.timm import TimmEncoder
from mvlm_plugin.modules.pixels import DEVIATION, MEAN
from mvlm_plugin.registry import IMAGE_ENCODERS
from tests.helpers import make_batch, make_criterion, make_model, roughen, tiny_config
from tests.timm_helper import import_timm

timm = import_timm()

# One of each kind: [CLS]; positions for the patches only; two tokens; no token; registers and patches of 14 pixels;
# rotary positions; relative positions.
BACKBONES = {
    "vit_tiny_patch16_224": 1,
    "deit3_small_patch16_224": 1,
    "deit_tiny_distilled_patch16_224": 2,
    "vit_base_patch16_siglip_224": 0,
    "vit_small_patch14_reg4_dinov2": 5,
    "eva02_tiny_patch14_224": 1,
    "vit_relpos_small_patch16_224": 0,
}


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones of two blocks."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: create(*args, **options, depth=2))


def build(name: str, patches: int = 3) -> TimmEncoder:
    """A backbone with rough weights for images of patches x patches, none of them timm's default."""
    side = patches * (14 if "patch14" in name else 16)
    cfg = tiny_config(image_encoder=f"timm:{name}", image_size=side)
    return roughen(IMAGE_ENCODERS.build(cfg.image_encoder, cfg), scale=0.05).eval()


def images_for(encoder: TimmEncoder, count: int = 2, patches: int = 3) -> Tensor:
    side = patches * encoder.patch_size
    return torch.randn(count, 3, side, side)


@pytest.mark.parametrize(("name", "prefix"), BACKBONES.items())
@pytest.mark.usefixtures("shallow")
@torch.no_grad()
def test_whole_images_are_encoded_as_timm_does(name: str, prefix: int) -> None:
    encoder = build(name)
    images = images_for(encoder)
    mean, deviation = (torch.tensor(encoder.model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = images * torch.tensor(DEVIATION).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    expected = encoder.model.forward_features((pixels - mean) / deviation)
    assert expected.shape[1] == 9 + prefix
    for features in (encoder(images), encoder(images, torch.zeros(2, 9, dtype=torch.bool))):
        assert features.shape == (2, 10, encoder.width)
        torch.testing.assert_close(features[:, 1:], expected[:, prefix:], atol=1e-5, rtol=1e-5)
        first = expected[:, 0] if prefix else expected.mean(dim=1)
        torch.testing.assert_close(features[:, 0], first, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.usefixtures("shallow")
@torch.no_grad()
def test_masked_pixels_are_not_seen_and_views_come_one_after_the_other(name: str) -> None:
    encoder = build(name)
    images, size = images_for(encoder), encoder.patch_size
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[2:, 5] = True  # second row, third column of patches
    hidden, visible = images.clone(), images.clone()
    hidden[:, :, size : 2 * size, 2 * size :] = 9.0
    visible[:, :, :size, 2 * size :] = 9.0
    views = encoder(images, mask)
    torch.testing.assert_close(views[:2], encoder(images))
    torch.testing.assert_close(encoder(hidden, mask)[2:], views[2:], atol=0, rtol=0)
    assert not torch.allclose(encoder(visible, mask)[2:], views[2:])
    assert not torch.allclose(encoder(hidden, mask)[:2], views[:2])


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.usefixtures("shallow")
def test_a_step_of_all_losses_reaches_every_parameter(name: str) -> None:
    size = 14 if "patch14" in name else 16
    cfg = tiny_config(image_encoder=f"timm:{name}", image_size=3 * size, image_mask_block=size)
    model = make_model(cfg)
    loss, _, _ = make_criterion()(model, make_batch(cfg))
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224", "vit_base_patch16_siglip_224"])
@pytest.mark.usefixtures("shallow")
@torch.no_grad()
def test_weights_of_timm_fit(name: str) -> None:
    trained = roughen(timm.create_model(name, pretrained=False), scale=0.05).eval()
    for patches in (3, 224 // (14 if "patch14" in name else 16)):
        encoder = build(name, patches)
        missing, unexpected = encoder.load_state_dict(encoder.convert_weights(trained.state_dict()), strict=False)
        assert (missing, unexpected) == (["mask_token"], [])
    # At timm's own size nothing was resampled. Where timm has the norm only after the pooling, ours is before it.
    images = torch.randn(1, 3, 224, 224)
    expected = trained.forward_features(images)
    expected = trained.fc_norm(expected) if isinstance(trained.norm, nn.Identity) else expected
    torch.testing.assert_close(encoder.model.forward_features(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("swin_tiny_patch4_window7_224", "hierarchical"),
        ("convnext_tiny", "convolutional"),
        ("vit_base_r50_s16_224", "hybrid"),
        ("samvit_base_patch16", "not give a sequence of patches"),
    ],
)
def test_what_cannot_be_masked_patch_by_patch_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be masked patch by patch: .*{reason}.*choose a plain"):
        build(name)


@pytest.mark.parametrize("name", ["vit_smal_patch16_224", "hf_hub:timm/vit_small_patch16_224", ""])
def test_an_unknown_name_is_answered_with_close_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"has no backbone '{name}'") as raised:
        build(name)
    assert ("'vit_small_patch16_224'" in str(raised.value)) == bool(name)


def test_an_image_that_is_no_whole_number_of_patches_is_refused() -> None:
    cfg = tiny_config(image_size=50)
    with pytest.raises(ValueError, match="50 is not divisible by the patch size 16"):
        IMAGE_ENCODERS.build("timm:vit_tiny_patch16_224", cfg)


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, *args: object) -> None:
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"torchvision \S+ does not fit torch 2\.\S+: install both"):
        subject.import_timm()


def test_the_extra_is_named_where_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install 'mvlm-plugin\[timm\]'"):
        subject.import_timm()
