"""Freezing, checkpointing and compilation of a model's parts, by the options of its config."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin import register_image_encoder
from mvlm_plugin.models.config import ConfigError
from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.registry import IMAGE_ENCODERS
from tests.helpers import assert_same_tensors, gradients, make_batch, make_criterion, make_model, tiny_config

PARTS = ("image_encoder", "text_encoder", "fusion", "image_decoder")
DEEP = {"decoder_layers": 2, "dropout": 0.2}


class ForeignEncoder(nn.Module):
    """An image encoder that offers nothing but what every image encoder must."""

    width, patch_size = 128, 8

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(3, 128, 8, 8), nn.GELU(), nn.Dropout(0.2), nn.Conv2d(128, 128, 1))
        self.hidden = nn.Parameter(torch.ones(128))

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        if image_mask is not None:
            x = torch.where(image_mask[..., None], self.hidden, x.repeat(len(image_mask) // len(x), 1, 1))
        return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(IMAGE_ENCODERS, "_builders", dict(IMAGE_ENCODERS._builders))
    register_image_encoder("test_foreign")(lambda cfg: ForeignEncoder())
    return "test_foreign"


def step(model: MvlmModel, sample: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss, gradients, and bytes that the forward pass keeps for the backward pass, each storage counted once."""
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    model.zero_grad()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _, _ = make_criterion()(model, sample)
    size = sum(kept.values())
    loss.backward()
    return loss.detach(), gradients(model), size


@pytest.fixture(scope="module")
def plain() -> tuple[Tensor, dict[str, Tensor], int]:
    cfg = tiny_config(**DEEP)
    return step(make_model(cfg).train(), make_batch(cfg))


@pytest.mark.parametrize(
    ("parts", "saved"), [*((part, 0.1) for part in PARTS), ("fusion,text_encoder", 0.3), ("all", 0.6)]
)
def test_checkpointing_keeps_less_and_changes_neither_loss_nor_gradients(
    parts: str, saved: float, plain: tuple[Tensor, dict[str, Tensor], int]
) -> None:
    cfg = tiny_config(**DEEP, checkpoint_activations=parts)
    loss, gradient, size = step(make_model(cfg).train(), make_batch(cfg))
    torch.testing.assert_close(loss, plain[0], atol=1e-6, rtol=1e-6)
    assert_same_tensors(gradient, plain[1], tolerance=1e-6)
    assert size < (1 - saved) * plain[2]


def test_a_foreign_encoder_is_checkpointed_as_a_whole(foreign: str) -> None:
    results = []
    for parts in ("", "image_encoder"):
        cfg = tiny_config(image_encoder=foreign, checkpoint_activations=parts)
        model = make_model(cfg)
        results.append(step(copy.deepcopy(model).train(), make_batch(cfg)))
    torch.testing.assert_close(results[1][0], results[0][0])
    assert_same_tensors(results[1][1], results[0][1], tolerance=1e-6)
    assert results[1][2] < results[0][2]


def test_a_copy_of_a_checkpointed_foreign_encoder_computes_with_its_own_weights(foreign: str) -> None:
    encoder = make_model(tiny_config(image_encoder=foreign, checkpoint_activations="image_encoder")).image_encoder
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin(torch.randn(1, 3, 32, 32)).any()
    assert encoder(torch.randn(1, 3, 32, 32)).any()


def test_nothing_is_checkpointed_in_evaluation() -> None:
    cfg = tiny_config(checkpoint_activations="all")
    sizes = [step(make_model(c).eval(), make_batch(c))[2] for c in (cfg, tiny_config())]
    assert sizes[0] == sizes[1]


def test_an_unknown_part_lists_the_choices() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown part 'encoder'; choices: image_encoder, text_encoder, fusion, .*all"
    ):
        make_model(tiny_config(checkpoint_activations="fusion,encoder"))


def test_the_first_stages_of_the_image_encoder_are_not_trained() -> None:
    cfg = tiny_config(frozen_image_stages=2)
    model = make_model(cfg)
    loss, _, _ = make_criterion()(model, make_batch(cfg))
    loss.backward()
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[1] for name in frozen} == {
        "patch_embedding", "cls_token", "mask_token", "position_embedding", "blocks",
    }  # fmt: skip
    assert {name.split(".")[2] for name in frozen if "blocks" in name} == {"0", "1"}
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_more_stages_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ValueError, match="--frozen-image-stages 5: this image encoder has 4 blocks"):
        make_model(tiny_config(frozen_image_stages=5))


def test_frozen_modules_get_no_gradient_and_the_others_do() -> None:
    cfg = tiny_config(frozen_modules="image_encoder, text_encoder,image_adapter,text_adapter,contrastive")
    model = make_model(cfg)
    criterion = make_criterion(mlm=0.0, mim=0.0, itc=0.0)
    criterion(model, make_batch(cfg, (5, 3, 8)))[0].backward()
    for name, parameter in model.named_parameters():
        part = name.partition(".")[0]
        if part in {"fusion", "matching"}:
            assert parameter.grad is not None, name
        else:
            assert parameter.grad is None, name
        assert parameter.requires_grad == (part in {"fusion", "matching", "mlm_head", "image_decoder"}), name


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("fusoin", "no module 'fusoin'; choices: image_encoder"),
        (
            "image_encoder,text_encoder,image_adapter,text_adapter,fusion,image_decoder,mlm_head,contrastive,matching",
            "nothing is left to train",
        ),
    ],
)
def test_modules_that_cannot_be_frozen_are_told(names: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model(tiny_config(frozen_modules=names))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen_image_stages": 1}, "--frozen-image-stages: --image-encoder test_foreign has no stages"),
        ({"visible_patches_only": True}, "--visible-patches-only: --image-encoder test_foreign cannot"),
    ],
)
def test_what_an_image_encoder_cannot_do_is_refused(foreign: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_model(tiny_config(image_encoder=foreign, **options))


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_a_model_whose_compilation_fails_trains_as_without(
    fresh_compiler: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no compiler here\nsecond line")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    cfg = tiny_config(compile_model=True)
    compiled = make_model(cfg)
    plain = make_model(tiny_config())
    assert list(compiled.state_dict()) == list(plain.state_dict())
    actual, expected = step(compiled, make_batch(cfg)), step(plain, make_batch(cfg))
    torch.testing.assert_close(actual[0], expected[0])
    assert_same_tensors(actual[1], expected[1])
    warnings = [record.getMessage() for record in caplog.records if "torch.compile" in record.getMessage()]
    assert len(warnings) == 1
    assert "goes on uncompiled" in warnings[0]
    assert "no compiler here" in warnings[0]
    assert "\n" not in warnings[0]
