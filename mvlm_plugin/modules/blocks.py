"""Transformer blocks, pre-norm (ViT) or post-norm (RoBERTa)."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Attention, KeyValue


def take_tokens(x: Tensor, tokens: Tensor) -> Tensor:
    """The tokens (B, Q) int64 of each row of x (B, T, width) -> (B, Q, width)."""
    batch, length, _ = x.shape
    first = torch.arange(0, batch * length, length, device=x.device)
    return x.flatten(0, 1).index_select(0, (tokens + first[:, None]).flatten()).view(batch, tokens.size(1), -1)


class FeedForward(nn.Sequential):
    """Linear, GELU, linear. width -> hidden -> width.

    For the backward pass only the GELU's input is kept; its output, as large, is computed again: a fifth of a
    transformer's activations for a hundredth of its time.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        hidden = self[0](x)
        if not (torch.is_grad_enabled() and hidden.requires_grad):
            return self._activate(hidden)
        # The recomputation ends where the second product would begin: that product keeps its input, not its output.
        return checkpoint(self._activate, hidden, use_reentrant=False, preserve_rng_state=False)

    def _activate(self, hidden: Tensor) -> Tensor:
        return self[2](self[1](hidden))


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward net, each with a residual and a norm.

    Args:
        width: size of tokens.
        heads: attention heads.
        hidden: inner size of the feed-forward net.
        norm_first: True: x + f(norm(x)) as in ViT; False: norm(x + f(x)) as in BERT and RoBERTa.
        dropout: probability on the output of each part.
        eps: of the norms.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, norm_first: bool = True, dropout: float = 0.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attention = Attention(width, heads)
        self.self_norm = nn.LayerNorm(width, eps=eps)
        self.feed_forward = FeedForward(width, hidden)
        self.feed_forward_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def attend_self(
        self, x: Tensor, padding_mask: Tensor | None = None, first_only: bool = False, tokens: Tensor | None = None
    ) -> Tensor:
        """The self-attention part. All tokens are attended to.

        Args:
            x: (B, T, width).
            padding_mask: (B, T) bool, True = padding.
            first_only: compute token 0 alone.
            tokens: (B, Q) int64, compute these alone; None = all.

        Returns:
            Tensor of shape (B, 1, width), (B, Q, width) or (B, T, width).
        """
        context = self.self_norm(x) if self.norm_first else x
        if first_only:
            x, attended = x[:, :1], self.self_attention.first_to_all(context, padding_mask)
        else:
            queries = context if tokens is None else take_tokens(context, tokens)
            x = x if tokens is None else take_tokens(x, tokens)
            attended = self.self_attention(queries, self.self_attention.project(context), padding_mask)
        out = x + self.dropout(attended)
        return out if self.norm_first else self.self_norm(out)

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward part."""
        if self.norm_first:
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """x: (B, T, width); padding_mask: (B, T) bool, True = padding. Returns (B, T, width)."""
        return self.feed(self.attend_self(x, padding_mask))


def freeze_blocks(blocks: Iterable[nn.Module]) -> None:
    """Do not train some encoder blocks, and switch dropout off in them."""
    for block in cast(Iterable[EncoderBlock], blocks):
        block.requires_grad_(False)
        block.dropout.p = 0.0


class CrossBlock(EncoderBlock):
    """Self-attention, cross-attention to another modality, feed-forward net.

    Args:
        context_width: size of the other modality's features; the rest as in EncoderBlock.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        context_width: int,
        norm_first: bool = True,
        dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(width, heads, hidden, norm_first, dropout, eps)
        self.cross_attention = Attention(width, heads, context_width)
        self.cross_norm = nn.LayerNorm(width, eps=eps)

    def attend_context(
        self, x: Tensor, context: KeyValue, padding_mask: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """The cross-attention part.

        Args:
            x: (B, T, width).
            context: keys and values of the other modality, M rows.
            padding_mask: (M, S) bool, True = padding of the context.
            rows: (M,) the row of x that belongs to each row of the context; None: row by row.

        Returns:
            Tensor of shape (M, T, width).
        """
        attended = self.cross_attention(self._cross_queries(x), context, padding_mask, rows)
        return self._add_context(x if rows is None else x.index_select(0, rows), attended)

    def observe_context(
        self, x: Tensor, context: KeyValue, padding_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """attend_context() row by row, and its probabilities (B, heads, T, S); see Attention.observe()."""
        attended, probabilities = self.cross_attention.observe(self._cross_queries(x), context, padding_mask)
        return self._add_context(x, attended), probabilities

    def _cross_queries(self, x: Tensor) -> Tensor:
        return self.cross_norm(x) if self.norm_first else x

    def _add_context(self, x: Tensor, attended: Tensor) -> Tensor:
        out = x + self.dropout(attended)
        return out if self.norm_first else self.cross_norm(out)
