"""The one attention of the project: multi-head, batch first, on ``F.scaled_dot_product_attention``."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyValue(NamedTuple):
    """Projected keys and values, each of shape (B, heads, S, width / heads)."""

    key: Tensor
    value: Tensor

    def rows(self, index: Tensor | None) -> "KeyValue":
        """Keys and values of the given batch rows; None means all rows as they are."""
        return self if index is None else KeyValue(_rows(self.key, index), _rows(self.value, index))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x[index] of (B, heads, S, d), gathered as (B, S, heads, d).

    That is how projections lie in memory and how their gradients come back: other orders are copied row by row.
    """
    return x.transpose(1, 2).index_select(0, index).transpose(1, 2)


class Attention(nn.Module):
    """Attention whose context is projected apart from its queries, so that one projection can serve many queries.

    Args:
        width: size of queries and outputs.
        heads: number of heads; must divide width.
        context_width: size of the context that keys and values come from; default width (self-attention).

    Raises:
        ValueError: heads do not divide width.
    """

    def __init__(self, width: int, heads: int, context_width: int | None = None) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context_width or width, 2 * width)
        self.output = nn.Linear(width, width)

    def project(self, context: Tensor) -> KeyValue:
        """Keys and values of a context of shape (B, S, context_width)."""
        batch, length, _ = context.shape
        # (B, S, 2 * width) -> twice (B, S, heads, width / heads)
        key, value = self.key_value(context).view(batch, length, 2, self.heads, -1).unbind(2)
        return KeyValue(key.transpose(1, 2), value.transpose(1, 2))

    def forward(
        self, x: Tensor, context: KeyValue, padding_mask: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Attend from x to a projected context.

        Args:
            x: (B, T, width) queries.
            context: keys and values with M rows; M = B where rows is None.
            padding_mask: (M, S) bool, True = padding of the context, not attended to.
            rows: (M,) which row of x asks in each of the M outputs; x is projected once, then gathered.

        Returns:
            Tensor of shape (M, T, width).
        """
        batch, length, width = x.shape
        query = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        if rows is not None:
            query = _rows(query, rows)
        mask = None if padding_mask is None else ~padding_mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, context.key, context.value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).reshape(-1, length, width))

    def observe(self, x: Tensor, context: KeyValue, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """forward() by its formula, with the probabilities as part of the graph: for looking, not for training.

        Args:
            x, context, padding_mask: as in forward(), row by row.

        Returns:
            The output (B, T, width), and probabilities (B, heads, T, S) that sum to 1 over S.
        """
        batch, length, width = x.shape
        query = self.query(x).view(batch, length, self.heads, -1).transpose(1, 2)
        scores = query @ context.key.transpose(2, 3) * query.size(-1) ** -0.5
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, None, :], float("-inf"))
        probabilities = scores.softmax(dim=-1)
        attended = probabilities @ context.value
        return self.output(attended.transpose(1, 2).reshape(batch, length, width)), probabilities

    def first_to_all(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Self-attention of token 0 alone, without projecting the others: what project() and forward() would give it.

        With one query q a head, (W_k x + b_k)q = x(W_k^T q) + a constant that softmax takes away, and
        sum(p (W_v x + b_v)) = W_v sum(p x) + b_v: the two products with x are far less work than the projections.

        Args:
            x: (B, T, width).
            padding_mask: (B, T) bool, True = padding, not attended to.

        Returns:
            Tensor of shape (B, 1, width).
        """
        batch, _, width = x.shape
        size = width // self.heads
        key_weight, value_weight = self.key_value.weight.view(2, self.heads, size, width).unbind(0)
        query = self.query(x[:, 0]).view(batch, self.heads, size) * size**-0.5
        asked = torch.einsum("bhd,hdw->bhw", query, key_weight)
        scores = asked @ x.transpose(1, 2)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, :], float("-inf"))
        seen = scores.softmax(dim=-1) @ x  # (B, heads, width)
        attended = torch.einsum("bhw,hdw->bhd", seen, value_weight).reshape(batch, 1, width)
        return self.output(attended + self.key_value.bias[width:])
