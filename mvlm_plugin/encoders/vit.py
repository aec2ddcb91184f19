"""Vision Transformer image encoders (Dosovitskiy et al., 2021) with a mask token (SimMIM, Xie et al., 2022)."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..modules.blocks import EncoderBlock
from ..modules.patches import PatchEmbedding
from ..registry import register_image_encoder

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class VisionTransformer(nn.Module):
    """Pre-norm ViT with a [CLS] token and learned position embedding.

    Args:
        image_size: pixels a side; divisible by patch_size.
        patch_size: pixels a patch side.
        width: token size.
        layers: number of blocks.
        heads: attention heads.
        dropout: probability on residual branches.
        eps: of the norms.

    Raises:
        ValueError: image_size is not divisible by patch_size.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image size {image_size} is not divisible by the patch size {patch_size}")
        self.width = width
        self.patch_size = patch_size
        self.patch_embedding = PatchEmbedding(patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        positions = (image_size // patch_size) ** 2 + 1
        self.position_embedding = nn.Parameter(torch.zeros(1, positions, width))
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, 4 * width, dropout=dropout, eps=eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        for parameter in (self.cls_token, self.mask_token, self.position_embedding):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """Encode images, whole or masked.

        Args:
            images: (B, 3, H, W) float, normalised.
            image_mask: (K * B, P) bool, True = patch replaced by the mask token. Row k * B + b is the k-th view
                of image b, so that whole and masked views go through in one pass. None: one whole view.

        Returns:
            Tensor of shape (K * B, P + 1, width); token 0 is [CLS].
        """
        x = self.patch_embedding(images)
        if image_mask is not None:
            x = x.repeat(image_mask.size(0) // x.size(0), 1, 1)
            x = torch.where(image_mask[..., None], self.mask_token.to(x.dtype), x)
        x = torch.cat([self.cls_token.expand(x.size(0), -1, -1), x], dim=1) + self.position_embedding
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class VitSize(NamedTuple):
    """Sizes of a named ViT."""

    patch_size: int
    width: int
    layers: int
    heads: int


VIT_SIZES = {
    "vit_tiny_patch8": VitSize(8, 128, 4, 4),
    "vit_tiny_patch16": VitSize(16, 128, 4, 4),
    "vit_tiny_patch32": VitSize(32, 128, 4, 4),
    "vit_mini_patch16": VitSize(16, 192, 4, 4),
    "vit_small_patch16": VitSize(16, 384, 12, 6),
    "vit_base_patch16": VitSize(16, 768, 12, 12),
    "vit_large_patch16": VitSize(16, 1024, 24, 16),
}


def build_vit(cfg: "MvlmConfig", size: VitSize) -> VisionTransformer:
    """A ViT of a named size for the config's image size."""
    return VisionTransformer(cfg.image_size, *size, dropout=cfg.dropout)


for _name, _size in VIT_SIZES.items():
    register_image_encoder(_name)(partial(build_vit, size=_size))
