import math

import pytest
import torch
from torch import Tensor

from mvlm_plugin.modules.attention import Attention


def plain_attention(module: Attention, x: Tensor, context: Tensor, padding_mask: Tensor | None) -> Tensor:
    """The textbook formula, head by head and row by row."""
    width = x.size(-1)
    size = width // module.heads
    query = module.query(x)
    key, value = module.key_value(context)[..., :width], module.key_value(context)[..., width:]
    outputs = []
    for b in range(x.size(0)):
        heads = []
        for h in range(module.heads):
            part = slice(h * size, (h + 1) * size)
            scores = query[b, :, part] @ key[b, :, part].T / math.sqrt(size)
            if padding_mask is not None:
                scores[:, padding_mask[b]] = float("-inf")
            heads.append(scores.softmax(dim=-1) @ value[b, :, part])
        outputs.append(torch.cat(heads, dim=-1))
    return module.output(torch.stack(outputs))


PADDING = torch.tensor([[False, False, False, False, False], [False, False, True, True, True], [False] * 4 + [True]])


@pytest.mark.parametrize("padding_mask", [None, PADDING])
def test_attention_is_softmax_of_scaled_products(padding_mask: Tensor | None) -> None:
    module = Attention(12, 3, context_width=7)
    x, context = torch.randn(3, 4, 12), torch.randn(3, 5, 7)
    actual = module(x, module.project(context), padding_mask)
    torch.testing.assert_close(actual, plain_attention(module, x, context, padding_mask))


def test_padded_context_has_no_influence() -> None:
    module = Attention(8, 2)
    x, context = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    changed = context.masked_fill(PADDING[..., None], 100.0)
    torch.testing.assert_close(module(x, module.project(context), PADDING), module(x, module.project(changed), PADDING))


def test_rows_ask_once_per_pair_what_their_sample_asks() -> None:
    module = Attention(12, 3, context_width=7)
    x, context = torch.randn(2, 4, 12), torch.randn(3, 5, 7)
    rows, context_rows = torch.tensor([1, 0, 1, 1]), torch.tensor([2, 2, 0, 1])
    actual = module(x, module.project(context).rows(context_rows), PADDING[context_rows], rows)
    torch.testing.assert_close(actual, plain_attention(module, x[rows], context[context_rows], PADDING[context_rows]))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="10 is not divisible by 3"):
        Attention(10, 3)
