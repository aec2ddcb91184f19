from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin.interop.fusion import start_fusion
from mvlm_plugin.interop.reading import WeightsError
from tests.helpers import make_model, roughen, tiny_config


def started(**options: Any) -> nn.Module:
    model = make_model(tiny_config(**options))
    roughen(model)
    assert start_fusion(model.fusion, model.text_encoder) == ["image_stream", "text_stream"]
    return model


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_last_blocks_are_copied_and_norms_stand_before_what_read_them(layers: int) -> None:
    model = started(fusion_layers=layers)
    encoder = model.text_encoder
    for stream in (model.fusion.image_stream, model.fusion.text_stream):
        for depth, block in enumerate(stream.blocks, start=4 - layers):
            theirs = encoder.blocks[depth]
            assert_equal(block.self_attention, theirs.self_attention)
            assert_equal(block.feed_forward, theirs.feed_forward)
            assert_equal(block.feed_forward_norm, theirs.self_norm)
            before = encoder.blocks[depth - 1].feed_forward_norm if depth else encoder.embedding_norm
            assert_equal(block.self_norm, before)
        assert_equal(stream.norm, encoder.blocks[-1].feed_forward_norm)


def test_cross_attention_stays_new() -> None:
    fresh = make_model(tiny_config())
    roughen(fresh)
    model = started()
    for name, parameter in model.fusion.named_parameters():
        if ".cross_" in name:
            assert torch.equal(parameter, fresh.fusion.get_parameter(name)), name


def test_a_part_of_the_stream_computes_what_the_text_encoders_part_does() -> None:
    """Attention and feed-forward nets read what they have learned to read: the output of the norm before them."""
    model = started(fusion_layers=1)
    theirs, ours = model.text_encoder.blocks[-1], model.fusion.text_stream.blocks[0]
    before = model.text_encoder.blocks[-2].feed_forward_norm
    raw: Tensor = 10 * torch.randn(2, 5, 128)  # large enough for the norms' eps, which differ, not to matter
    with torch.no_grad():
        read = before(raw)
        attended = theirs.self_attention(read, theirs.self_attention.project(read))
        torch.testing.assert_close(ours.attend_self(raw) - raw, attended, atol=1e-4, rtol=1e-4)
        fed = theirs.feed_forward(theirs.self_norm(raw))
        torch.testing.assert_close(ours.feed(raw) - raw, fed, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"fusion_width": 64}, r"set --fusion-width 128 \(is 64\)"),
        ({"fusion_heads": 8}, r"set --fusion-heads 4 \(is 8\)"),
        ({"fusion_layers": 5}, r"has 4 blocks: set --fusion-layers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_option(options: dict[str, int], fix: str) -> None:
    with pytest.raises(WeightsError, match=fix):
        started(**options)


def test_other_kinds_of_fusion_are_refused() -> None:
    with pytest.raises(WeightsError, match="--fusion co_attention"):
        start_fusion(nn.Identity(), make_model(tiny_config()).text_encoder)
