"""A stack of cross blocks: one modality's tokens, read with the help of the other modality's features."""

from typing import cast

from torch import Tensor, nn

from .attention import KeyValue
from .block_stack import BlockStack
from .blocks import CrossBlock


class CrossStream(BlockStack):
    """Cross-modality blocks with the same context in every block.

    The context is always the *unimodal* feature of the other modality, which allows three exact savings when
    one sample takes part in several pairs (its own pair and the negatives of image-text matching): a context is
    projected once per block and gathered; the first block's self-attention and cross-attention queries are
    computed once a sample; where only token 0 (or, of a masked image, only its masked patches) is read, the last block
    computes only that.

    Args:
        width: size of the stream's own tokens.
        context_width: size of the context tokens.
        layers: number of blocks, at least 1.
        heads: attention heads.
        hidden: inner size of the feed-forward nets.
        norm_first: pre-norm blocks and a final norm, or post-norm blocks.
        dropout: probability on residual branches.

    Raises:
        ValueError: no layers.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        layers: int,
        heads: int,
        hidden: int,
        norm_first: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError("a cross-modality stream needs at least one layer")
        self.blocks = nn.ModuleList(
            CrossBlock(width, heads, hidden, context_width, norm_first, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6) if norm_first else nn.Identity()

    @property
    def _typed_blocks(self) -> list[CrossBlock]:
        return cast(list[CrossBlock], list(self.blocks))

    def project(self, context: Tensor) -> list[KeyValue]:
        """Keys and values of a context (B, S, context_width), one entry a block."""
        return [block.cross_attention.project(context) for block in self._typed_blocks]

    def forward(
        self,
        x: Tensor,
        padding_mask: Tensor | None,
        context: list[KeyValue],
        context_padding_mask: Tensor | None,
        rows: Tensor | None = None,
        context_rows: Tensor | None = None,
        first_only: bool = False,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """Read x with the help of a context.

        Args:
            x: (B, T, width) tokens.
            padding_mask: (B, T) bool, True = padding, or None.
            context: from project(), of C samples.
            context_padding_mask: (C, S) bool, True = padding, or None.
            rows: (M,) row of x in each of M pairs; None: pairs are the rows in order.
            context_rows: (M,) row of the context in each pair; None likewise.
            first_only: compute token 0 of the result only.
            tokens: (B, Q) int64, compute these tokens of the result only; not together with first_only or rows.

        Returns:
            Tensor of shape (M, T, width), (M, 1, width) with first_only, (M, Q, width) with tokens.
        """
        if context_rows is not None and context_padding_mask is not None:
            context_padding_mask = context_padding_mask[context_rows]
        last = len(self.blocks) - 1
        for depth, (block, key_value) in enumerate(zip(self._typed_blocks, context, strict=True)):
            only = (first_only, tokens) if depth == last else (False, None)
            x = self.run_block(
                _cross, block, x, padding_mask, key_value, context_padding_mask, rows, context_rows, *only
            )
            if rows is not None:
                padding_mask = None if padding_mask is None else padding_mask[rows]
                rows = None
        return self.norm(x)

    def observe(
        self,
        x: Tensor,
        padding_mask: Tensor | None,
        context: list[KeyValue],
        context_padding_mask: Tensor | None,
        layer: int,
    ) -> tuple[Tensor, Tensor]:
        """forward() of rows in order, all tokens, and what one block's cross-attention looks at.

        Args:
            x, padding_mask, context, context_padding_mask: as in forward(), all of B rows.
            layer: number of the block, from 0.

        Returns:
            The result (B, T, width), and probabilities (B, heads, T, S) that the result depends on in the graph.
        """
        probabilities = x.new_zeros(0)
        for depth, (block, key_value) in enumerate(zip(self._typed_blocks, context, strict=True)):
            x = block.attend_self(x, padding_mask)
            if depth == layer:
                x, probabilities = block.observe_context(x, key_value, context_padding_mask)
            else:
                x = block.attend_context(x, key_value, context_padding_mask)
            x = block.feed(x)
        return self.norm(x), probabilities


def _cross(
    block: CrossBlock,
    x: Tensor,
    padding_mask: Tensor | None,
    context: KeyValue,
    context_padding_mask: Tensor | None,
    rows: Tensor | None,
    context_rows: Tensor | None,
    first_only: bool,
    tokens: Tensor | None,
) -> Tensor:
    """One block; the context's rows are gathered inside, so that a checkpoint does not keep them. See CrossStream."""
    x = block.attend_self(x, padding_mask, first_only, tokens)
    return block.feed(block.attend_context(x, context.rows(context_rows), context_padding_mask, rows))
