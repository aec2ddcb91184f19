"""Vision Transformers whose patches are embedded by small convolutions (Xiao et al., 2021)."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..modules.convolutional_stem import ConvolutionalStem
from ..registry import register_image_encoder
from .vit import VIT_SIZES, VisionTransformer, VitSize

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class ConvolutionalVisionTransformer(VisionTransformer):
    """A ViT with a convolutional stem; takes and returns what VisionTransformer does.

    What is masked is masked in pixel space first, since a convolution reads the patches around its own; then the mask
    token takes the patch's place.

    Args:
        image_size: pixels a side; divisible by the patch size.
        size: of the transformer; the patch size is a power of two.
        dropout: probability on residual branches.

    Raises:
        ValueError: image_size or the patch size is not possible.
    """

    def __init__(self, image_size: int, size: VitSize, dropout: float = 0.0) -> None:
        super().__init__(image_size, *size, dropout=dropout)
        self.patch_embedding = ConvolutionalStem(size.patch_size, size.width)

    def _embed(self, images: Tensor, image_mask: Tensor | None, indices: Tensor | None) -> Tensor:
        x = self.patch_embedding(images, image_mask)
        if image_mask is not None:
            x = torch.where(image_mask[..., None], self.mask_token.to(x.dtype), x)
        cls = self.cls_token.expand(x.size(0), -1, -1)
        return torch.cat([cls, x], dim=1) + self.position_embedding


def _build(cfg: "MvlmConfig", name: str) -> ConvolutionalVisionTransformer:
    return ConvolutionalVisionTransformer(cfg.image_size, VIT_SIZES[name], cfg.dropout)


for _name in ("vit_tiny_patch8", "vit_tiny_patch16"):
    register_image_encoder(f"conv_{_name}")(partial(_build, name=_name))
