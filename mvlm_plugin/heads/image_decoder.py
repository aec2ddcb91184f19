"""Image decoders by name: fused features of the masked image -> RGB values of every patch.

A decoder is a module with ``forward(x (B, P + 1, D), context (B, L, D), context_padding_mask (B, L),
patches (B, M) int64 or None) -> (B, M, 3 * patch_size ** 2)``, values in (channel, row, column) order as patchify gives
them: of the patches asked for (training asks for the masked ones), or of all P.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..modules.blocks import take_tokens
from ..modules.cross_stream import CrossStream
from ..registry import register_image_decoder

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class CrossAttentionDecoder(nn.Module):
    """Cross-attention blocks with the unmasked text as context, then one linear layer to pixels.

    Args:
        width: token size.
        layers: number of blocks.
        heads: attention heads.
        patch_size: pixels a patch side.
        dropout: probability on residual branches.
    """

    def __init__(self, width: int, layers: int, heads: int, patch_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.stream = CrossStream(width, width, layers, heads, 4 * width, dropout=dropout)
        self.pixels = nn.Linear(width, 3 * patch_size * patch_size)

    def forward(
        self, x: Tensor, context: Tensor, context_padding_mask: Tensor, patches: Tensor | None = None
    ) -> Tensor:
        """Pixels of patches; see the module's docstring for shapes. The last block computes only what is asked for."""
        tokens = None if patches is None else patches + 1  # token 0 is [CLS]
        decoded = self.stream(x, None, self.stream.project(context), context_padding_mask, tokens=tokens)
        return self.pixels(decoded[:, 1:] if tokens is None else decoded)


class LinearDecoder(nn.Module):
    """One linear layer to pixels, as SimMIM has it: all use of the text is left to the fusion."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.pixels = nn.Linear(width, 3 * patch_size * patch_size)

    def forward(
        self, x: Tensor, context: Tensor, context_padding_mask: Tensor, patches: Tensor | None = None
    ) -> Tensor:
        """Pixels of patches; the context is not read."""
        return self.pixels(x[:, 1:] if patches is None else take_tokens(x, patches + 1))


@register_image_decoder("cross_attention")
def build_cross_attention(cfg: "MvlmConfig", patch_size: int) -> CrossAttentionDecoder:
    """The paper's decoder, of the config's fusion width and decoder layers."""
    return CrossAttentionDecoder(cfg.fusion_width, cfg.decoder_layers, cfg.fusion_heads, patch_size, cfg.dropout)


@register_image_decoder("linear")
def build_linear(cfg: "MvlmConfig", patch_size: int) -> LinearDecoder:
    """SimMIM's decoder."""
    return LinearDecoder(cfg.fusion_width, patch_size)
