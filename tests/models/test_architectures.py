import gc
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from fairseq.models import MODEL_REGISTRY
from torch import Tensor, nn

from mvlm_plugin import (
    register_architecture,
    register_fusion,
    register_image_decoder,
    register_image_encoder,
    register_text_encoder,
)
from mvlm_plugin.fusion.co_attention import CoAttentionFusion
from mvlm_plugin.models.architectures import ARCHITECTURES, MvlmTinyConfig
from mvlm_plugin.models.config import MvlmConfig
from mvlm_plugin.registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS, Registry
from tests.helpers import make_batch, make_criterion, make_model, tiny_config

REGISTRIES = {
    "image_encoder": IMAGE_ENCODERS,
    "text_encoder": TEXT_ENCODERS,
    "fusion": FUSIONS,
    "image_decoder": IMAGE_DECODERS,
}


def config_of(architecture: str, **overrides: Any) -> MvlmConfig:
    return MODEL_REGISTRY[architecture].__dataclass(**overrides)


def assert_trains(cfg: MvlmConfig) -> None:
    """One forward and backward pass of all four losses reaches every parameter."""
    model = make_model(cfg)
    norms: dict[int, float] = {}

    def take(parameter: nn.Parameter) -> None:
        norms[id(parameter)] = torch.linalg.vector_norm(parameter.grad).item()
        parameter.grad = None  # a large model's gradients are not all held at once

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(take)
    loss, _, _ = make_criterion()(model, make_batch(cfg, words=(4, 2)))
    loss.backward()
    assert loss.isfinite()
    gradient = {name: norms.get(id(parameter)) for name, parameter in model.named_parameters()}
    assert [name for name, norm in gradient.items() if not norm or not math.isfinite(norm)] == []


@pytest.fixture(autouse=True)
def _free_memory() -> Any:
    yield
    gc.collect()


def small(architecture: str) -> MvlmConfig:
    """The architecture for images of 2 x 2 masked blocks and short captions; its components keep their sizes."""
    cfg = config_of(architecture, max_text_tokens=8)
    cfg.image_size = 2 * cfg.image_mask_block
    return cfg


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_every_parameter(architecture: str) -> None:
    assert_trains(small(architecture))


# What no architecture names by default, so that every component is built by one test or the other.
OTHER_COMPONENTS = [
    (part, name)
    for part, registry in REGISTRIES.items()
    for name in registry.names()
    if name not in {getattr(config_of(architecture), part) for architecture in ARCHITECTURES}
]


@pytest.mark.parametrize(("part", "name"), OTHER_COMPONENTS)
def test_every_other_component_trains_every_parameter(part: str, name: str) -> None:
    assert_trains(tiny_config(**{"image_size": 64, "image_mask_block": 32, part: name}))


@pytest.mark.parametrize("part", REGISTRIES)
def test_an_unknown_component_lists_the_choices(part: str) -> None:
    known = REGISTRIES[part].names()
    with pytest.raises(ValueError, match="unknown") as raised:
        make_model(tiny_config(**{part: known[0] + "x"}))
    assert all(name in str(raised.value) for name in known)
    assert f"Did you mean {known[0]!r}?" in str(raised.value)


@pytest.mark.parametrize(
    ("register", "registry"),
    [
        (register_image_encoder, IMAGE_ENCODERS),
        (register_text_encoder, TEXT_ENCODERS),
        (register_fusion, FUSIONS),
        (register_image_decoder, IMAGE_DECODERS),
    ],
)
def test_a_name_is_registered_once(register: Any, registry: Registry) -> None:
    name = registry.names()[0]
    with pytest.raises(ValueError, match=f"{name}' is registered already"):
        register(name)(lambda cfg: None)


def test_registering_the_same_builder_again_does_no_harm() -> None:
    registry = Registry("toy")
    builder = registry.register("a")(lambda: 1)
    registry.register("a")(builder)
    assert registry.names() == ["a"]
    assert registry.build("a") == 1


def test_an_architecture_needs_a_new_name() -> None:
    @dataclass
    class AnotherConfig(MvlmConfig):
        pass

    with pytest.raises(ValueError, match="'mvlm_tiny' is registered already"):
        register_architecture("mvlm_tiny")(AnotherConfig)


def test_an_architecture_needs_a_dataclass_of_its_own() -> None:
    class PlainConfig(MvlmConfig):
        pass

    @dataclass
    class ForeignConfig:
        width: int = 3

    for config in (PlainConfig, ForeignConfig):
        with pytest.raises(TypeError, match=f"{config.__name__} must be a @dataclass that extends MvlmConfig"):
            register_architecture("test_not_registered")(config)
    assert "test_not_registered" not in ARCHITECTURES


class ToyImageEncoder(nn.Module):
    """Patches without a transformer: as little as an image encoder can be."""

    width, patch_size = 20, 8

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.width, 8, 8)
        self.hidden = nn.Parameter(torch.ones(self.width))

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        if image_mask is not None:
            x = torch.where(image_mask[..., None], self.hidden, x.repeat(len(image_mask) // len(x), 1, 1))
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)


def test_components_and_architecture_from_outside_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IMAGE_ENCODERS, "_builders", dict(IMAGE_ENCODERS._builders))
    monkeypatch.setattr(FUSIONS, "_builders", dict(FUSIONS._builders))
    register_image_encoder("test_toy_encoder")(lambda cfg: ToyImageEncoder())
    register_fusion("test_toy_fusion")(lambda cfg: CoAttentionFusion(cfg.fusion_width, 1, 2))

    @register_architecture("test_toy")
    @dataclass
    class ToyConfig(MvlmTinyConfig):
        image_encoder: str = "test_toy_encoder"
        fusion: str = "test_toy_fusion"
        image_size: int = 32
        image_mask_block: int = 16

    try:
        cfg = config_of("test_toy", fusion_width=40)
        assert cfg.image_encoder == "test_toy_encoder"
        assert cfg.text_encoder == "roberta_tiny"
        assert_trains(cfg)
    finally:
        ARCHITECTURES.pop("test_toy")


def test_presets_keep_the_help_of_the_options() -> None:
    fields = ARCHITECTURES["mvlm_large"].__dataclass.__dataclass_fields__
    assert fields["image_encoder"].metadata["help"] == "registered image encoder"
    assert fields["image_encoder"].default == "vit_large_patch16"
