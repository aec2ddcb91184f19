"""RoBERTa text encoders (Liu et al., 2019)."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..modules.block_stack import BlockStack
from ..modules.blocks import EncoderBlock, freeze_blocks
from ..registry import register_text_encoder

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class RobertaEncoder(BlockStack):
    """Post-norm transformer over tokens with learned positions, counted from 0 at <s>.

    Args:
        vocab_size: entries of the dictionary.
        padding_idx: id of the padding token.
        max_tokens: longest caption, <s> and </s> counted.
        width: token size.
        layers: number of blocks.
        heads: attention heads.
        dropout: probability on embeddings and residual branches.
        eps: of the norms.
    """

    def __init__(
        self,
        vocab_size: int,
        padding_idx: int,
        max_tokens: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.width = width
        self.token_embedding = nn.Embedding(vocab_size, width, padding_idx=padding_idx)
        self.position_embedding = nn.Parameter(torch.zeros(1, max_tokens, width))
        self.embedding_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, 4 * width, norm_first=False, dropout=dropout, eps=eps) for _ in range(layers)
        )
        nn.init.trunc_normal_(self.position_embedding, std=0.02)

    def freeze(self, layers: int) -> None:
        """Do not train the embeddings and the first blocks, switch dropout off in them, and keep nothing for them.

        Raises:
            ValueError: there are not so many blocks.
        """
        if not 0 <= layers <= len(self.blocks):
            raise ValueError(f"--frozen-text-layers {layers}: this text encoder has {len(self.blocks)}")
        if not layers:
            return
        self.position_embedding.requires_grad_(False)
        for module in (self.token_embedding, self.embedding_norm):
            module.requires_grad_(False)
        self.dropout.p = 0.0
        freeze_blocks(self.blocks[:layers])

    def forward(self, tokens: Tensor, padding_mask: Tensor) -> Tensor:
        """Encode captions.

        Args:
            tokens: (B, L) int64 ids, <s> first; L at most max_tokens.
            padding_mask: (B, L) bool, True = padding.

        Returns:
            Tensor of shape (B, L, width); token 0 is <s>. Values at padding are meaningless.
        """
        x = self.token_embedding(tokens) + self.position_embedding[:, : tokens.size(1)]
        x = self.dropout(self.embedding_norm(x))
        for block in self.blocks:
            x = self.run_block(block, x, padding_mask)
        return x


class RobertaSize(NamedTuple):
    """Sizes of a named RoBERTa."""

    width: int
    layers: int
    heads: int


ROBERTA_SIZES = {
    "roberta_tiny": RobertaSize(128, 4, 4),
    "roberta_mini": RobertaSize(192, 3, 4),
    "roberta_small": RobertaSize(384, 6, 6),
    "roberta_base": RobertaSize(768, 12, 12),
    "roberta_large": RobertaSize(1024, 24, 16),
}


def build_roberta(cfg: "MvlmConfig", dictionary: Dictionary, size: RobertaSize) -> RobertaEncoder:
    """A RoBERTa of a named size for a dictionary."""
    return RobertaEncoder(len(dictionary), dictionary.pad(), cfg.max_text_tokens, *size, dropout=cfg.dropout)


for _name, _size in ROBERTA_SIZES.items():
    register_text_encoder(_name)(partial(build_roberta, size=_size))
