import pytest
import torch

from mvlm_plugin.modules.blocks import CrossBlock, EncoderBlock
from tests.helpers import roughen

PADDING = torch.tensor([[False, False, False, True], [False, True, True, True]])


@pytest.mark.parametrize("padding_mask", [None, PADDING])
@pytest.mark.parametrize("norm_first", [True, False])
def test_encoder_block_equals_the_transformer_layer_of_torch(
    norm_first: bool, padding_mask: torch.Tensor | None
) -> None:
    ours = roughen(EncoderBlock(12, 3, 20, norm_first=norm_first, eps=1e-3)).eval()
    theirs = torch.nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", layer_norm_eps=1e-3, batch_first=True, norm_first=norm_first
    ).eval()
    attention = ours.self_attention
    weights = {
        "self_attn.in_proj_weight": torch.cat([attention.query.weight, attention.key_value.weight]),
        "self_attn.in_proj_bias": torch.cat([attention.query.bias, attention.key_value.bias]),
        "self_attn.out_proj.weight": attention.output.weight,
        "self_attn.out_proj.bias": attention.output.bias,
        "linear1.weight": ours.feed_forward[0].weight,
        "linear1.bias": ours.feed_forward[0].bias,
        "linear2.weight": ours.feed_forward[2].weight,
        "linear2.bias": ours.feed_forward[2].bias,
        "norm1.weight": ours.self_norm.weight,
        "norm1.bias": ours.self_norm.bias,
        "norm2.weight": ours.feed_forward_norm.weight,
        "norm2.bias": ours.feed_forward_norm.bias,
    }
    theirs.load_state_dict(weights)
    x = torch.randn(2, 4, 12)
    seen = torch.ones(2, 4, dtype=torch.bool) if padding_mask is None else ~padding_mask
    expected = theirs(x.requires_grad_(), src_key_padding_mask=padding_mask)
    torch.testing.assert_close(ours(x, padding_mask)[seen], expected[seen], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_first_only_gives_token_0_of_the_whole_result(norm_first: bool) -> None:
    block = roughen(EncoderBlock(12, 3, 20, norm_first=norm_first))
    x = torch.randn(2, 4, 12)
    whole = block.attend_self(x, PADDING)
    torch.testing.assert_close(block.attend_self(x, PADDING, first_only=True), whole[:, :1])


@pytest.mark.parametrize("norm_first", [True, False])
def test_cross_part_has_its_own_residual_and_norm(norm_first: bool) -> None:
    block = roughen(CrossBlock(12, 3, 20, context_width=5, norm_first=norm_first))
    x, context = torch.randn(2, 4, 12), torch.randn(2, 3, 5)
    key_value = block.cross_attention.project(context)
    if norm_first:
        expected = x + block.cross_attention(block.cross_norm(x), key_value)
    else:
        expected = block.cross_norm(x + block.cross_attention(x, key_value))
    torch.testing.assert_close(block.attend_context(x, key_value), expected)


def test_dropout_acts_in_training_only() -> None:
    block = EncoderBlock(12, 3, 20, dropout=0.5)
    x = torch.randn(2, 4, 12)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
