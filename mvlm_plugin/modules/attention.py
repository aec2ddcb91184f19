"""The one attention of the project: multi-head, batch first, on ``F.scaled_dot_product_attention``."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class KeyValue(NamedTuple):
    """Projected keys and values, each of shape (B, heads, S, width / heads)."""

    key: Tensor
    value: Tensor

    def rows(self, index: Tensor | None) -> "KeyValue":
        """Keys and values of the given batch rows; None means all rows as they are."""
        return self if index is None else KeyValue(self.key.index_select(0, index), self.value.index_select(0, index))


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
        # (B, S, 2 * width) -> (2, B, heads, S, width / heads)
        projected = self.key_value(context).view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return KeyValue(projected[0], projected[1])

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
            query = query.index_select(0, rows)
        mask = None if padding_mask is None else ~padding_mask[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, context.key, context.value, attn_mask=mask)
        return self.output(attended.transpose(1, 2).reshape(-1, length, width))
