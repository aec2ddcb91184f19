import pytest
import torch
from torch import Tensor

from mvlm_plugin.modules.cross_stream import CrossStream
from tests.helpers import assert_same_tensors, gradients, roughen

X_PADDING = torch.tensor([[False] * 4, [False, False, True, True], [False, False, False, True]])
CONTEXT_PADDING = torch.tensor([[False, False, True], [False] * 3, [False, True, True], [False] * 3])
ROWS = torch.tensor([0, 1, 2, 2, 0, 1, 1])
CONTEXT_ROWS = torch.tensor([0, 1, 2, 3, 3, 0, 2])


def naive(stream: CrossStream, x: Tensor, context: Tensor, x_padding: Tensor | None, padding: Tensor | None) -> Tensor:
    """Every pair by itself, every token, every context projected anew."""
    for block in stream.blocks:
        x = block.attend_self(x, x_padding)
        x = block.attend_context(x, block.cross_attention.project(context), padding)
        x = block.feed(x)
    return stream.norm(x)


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("first_only", [True, False], ids=["first token", "all tokens"])
def test_shared_projections_change_neither_outputs_nor_gradients(
    layers: int, norm_first: bool, padded: bool, first_only: bool
) -> None:
    stream = roughen(CrossStream(12, 6, layers, 3, 20, norm_first=norm_first))
    x, context = torch.randn(3, 4, 12, requires_grad=True), torch.randn(4, 3, 6, requires_grad=True)
    x_padding, padding = (X_PADDING, CONTEXT_PADDING) if padded else (None, None)
    probe = torch.randn(len(ROWS), 1 if first_only else 4, 12)
    if padded and not first_only:
        probe[X_PADDING[ROWS]] = 0.0

    def run(actual: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        stream.zero_grad()
        x.grad = context.grad = None
        (actual * probe).sum().backward()
        return actual.detach(), {**gradients(stream), "x": x.grad, "context": context.grad}

    fast, fast_gradients = run(
        stream(x, x_padding, stream.project(context), padding, ROWS, CONTEXT_ROWS, first_only=first_only)
    )
    slow, slow_gradients = run(
        naive(
            stream,
            x[ROWS],
            context[CONTEXT_ROWS],
            None if x_padding is None else x_padding[ROWS],
            None if padding is None else padding[CONTEXT_ROWS],
        )[:, : probe.size(1)]
    )
    seen = probe.abs().sum(dim=-1) > 0
    torch.testing.assert_close(fast[seen], slow[seen], atol=1e-5, rtol=1e-5)
    assert_same_tensors(fast_gradients, slow_gradients, tolerance=2e-5)


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_wanted_tokens_are_those_of_the_whole_result(layers: int, norm_first: bool) -> None:
    stream = roughen(CrossStream(12, 6, layers, 3, 20, norm_first=norm_first))
    x, context = torch.randn(3, 4, 12), torch.randn(3, 3, 6)
    tokens = torch.tensor([[3, 0], [1, 1], [2, 3]])
    arguments = (x, None, stream.project(context), CONTEXT_PADDING[:3])
    whole = stream(*arguments)
    torch.testing.assert_close(stream(*arguments, tokens=tokens), whole.take_along_dim(tokens[..., None], dim=1))


def test_without_rows_samples_and_contexts_go_in_order() -> None:
    stream = roughen(CrossStream(12, 6, 2, 3, 20))
    x, context = torch.randn(3, 4, 12), torch.randn(3, 3, 6)
    actual = stream(x, X_PADDING, stream.project(context), CONTEXT_PADDING[:3])
    expected = naive(stream, x, context, X_PADDING, CONTEXT_PADDING[:3])
    torch.testing.assert_close(actual, expected)


def test_the_given_mask_is_left_alone() -> None:
    stream = CrossStream(12, 6, 1, 3, 20)
    padding = CONTEXT_PADDING.clone()
    stream(torch.randn(3, 4, 12), X_PADDING, stream.project(torch.randn(4, 3, 6)), padding, ROWS, CONTEXT_ROWS)
    assert torch.equal(padding, CONTEXT_PADDING)


def test_post_norm_has_no_norm_of_its_own_at_the_end() -> None:
    assert not list(CrossStream(12, 6, 1, 3, 20, norm_first=False).norm.parameters())


def test_no_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        CrossStream(12, 12, 0, 3, 20)


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_observing_a_block_changes_nothing_and_shows_its_probabilities(
    layer: int, norm_first: bool, padded: bool
) -> None:
    stream = roughen(CrossStream(12, 6, 3, 3, 20, norm_first=norm_first))
    x, context = torch.randn(3, 4, 12), torch.randn(3, 3, 6)
    masks = (X_PADDING, CONTEXT_PADDING[:3]) if padded else (None, None)
    arguments = (x, masks[0], stream.project(context), masks[1])
    result, probabilities = stream.observe(*arguments, layer=layer)
    torch.testing.assert_close(result, stream(*arguments))
    assert probabilities.shape == (3, 3, 4, 3)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(3, 3, 4))
    if padded:
        assert torch.all(probabilities.transpose(1, 3)[CONTEXT_PADDING[:3]] == 0)
