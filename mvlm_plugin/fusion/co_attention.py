"""Cross-modality encoders as in MaskVLM: two streams, each attending to the other modality's unimodal features."""

from typing import TYPE_CHECKING

from torch import nn

from ..modules.cross_stream import CrossStream
from ..registry import register_fusion

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class CoAttentionFusion(nn.Module):
    """g_im (image_stream: image tokens, text context) and g_txt (text_stream: text tokens, image context).

    Args:
        width: token size of both modalities.
        layers: blocks a stream.
        heads: attention heads.
        dropout: probability on residual branches.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.image_stream = CrossStream(width, width, layers, heads, 4 * width, dropout=dropout)
        self.text_stream = CrossStream(width, width, layers, heads, 4 * width, dropout=dropout)


@register_fusion("co_attention")
def build_co_attention(cfg: "MvlmConfig") -> CoAttentionFusion:
    """Co-attention of the config's fusion width, layers and heads."""
    return CoAttentionFusion(cfg.fusion_width, cfg.fusion_layers, cfg.fusion_heads, cfg.dropout)
