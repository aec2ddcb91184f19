"""Vision Transformer image encoders (Dosovitskiy et al., 2021) with a mask token (SimMIM, Xie et al., 2022)."""

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..masking.image import masked_patch_count
from ..modules.block_stack import BlockStack
from ..modules.blocks import EncoderBlock, freeze_blocks
from ..modules.patches import PatchEmbedding, visible_indices
from ..registry import register_image_encoder

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class VisionTransformer(BlockStack):
    """Pre-norm ViT with a [CLS] token and learned position embedding.

    Args:
        image_size: pixels a side; divisible by patch_size.
        patch_size: pixels a patch side.
        width: token size.
        layers: number of blocks.
        heads: attention heads.
        dropout: probability on residual branches.
        eps: of the norms.
        visible_patches: 0: a masked patch's embedding is replaced by the mask token. V > 0: of a masked image only
            its V visible patches are encoded, and mask tokens with their positions are put between them at the end
            (as in MAE, He et al., 2022).

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
        visible_patches: int = 0,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"image size {image_size} is not divisible by the patch size {patch_size}")
        self.width = width
        self.patch_size = patch_size
        self.visible_patches = visible_patches
        self.patch_embedding: nn.Module = PatchEmbedding(patch_size, width)
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

    def freeze(self, stages: int) -> None:
        """Do not train the embeddings and the first blocks, and switch dropout off in them.

        The mask token is not trained either, unless it enters after the blocks (visible_patches): nothing of the frozen
        part needs a gradient, so that nothing is kept of it and no backward pass goes through it.

        Raises:
            ValueError: there are not so many blocks.
        """
        if not 0 <= stages <= len(self.blocks):
            raise ValueError(f"--frozen-image-stages {stages}: this image encoder has {len(self.blocks)} blocks")
        if not stages:
            return
        self.patch_embedding.requires_grad_(False)
        for parameter in (self.cls_token, self.position_embedding):
            parameter.requires_grad_(False)
        self.mask_token.requires_grad_(self.visible_patches > 0)
        freeze_blocks(self.blocks[:stages])

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """Encode images, whole or masked.

        Args:
            images: (B, 3, H, W) float, normalised.
            image_mask: (K * B, P) bool, True = masked. Row k * B + b is the k-th view of image b, so that whole and
                masked views go through in one pass; with visible_patches K is 1, and every row has that many visible
                patches. None: one whole view.

        Returns:
            Tensor of shape (K * B, P + 1, width); token 0 is [CLS].

        Raises:
            RuntimeError: with visible_patches, a mask with another number of visible patches.
        """
        indices = None
        if self.visible_patches and image_mask is not None:
            indices, image_mask = visible_indices(image_mask, self.visible_patches), None
        x = self._embed(images, image_mask, indices)
        for block in self.blocks:
            x = self.run_block(block, x)
        x = self.norm(x)
        return x if indices is None else self._fill_in(x, indices)

    def _embed(self, images: Tensor, image_mask: Tensor | None, indices: Tensor | None) -> Tensor:
        """[CLS] and patches with their positions: all patches, some masked, or those that indices (B, V) choose."""
        x = self.patch_embedding(images, indices)
        if image_mask is not None:
            x = x.repeat(image_mask.size(0) // x.size(0), 1, 1)
            x = torch.where(image_mask[..., None], self.mask_token.to(x.dtype), x)
        cls = (self.cls_token + self.position_embedding[:, :1]).expand(x.size(0), -1, -1)
        positions = self.position_embedding[:, 1:]
        if indices is not None:
            positions = positions.take_along_dim(indices[..., None], dim=1)
        return torch.cat([cls, x + positions], dim=1)

    def _fill_in(self, x: Tensor, indices: Tensor) -> Tensor:
        """[CLS] and V visible patches (B, V + 1, width) -> all places (B, P + 1, width), mask tokens in the others."""
        visible = x[:, 1:]
        hidden = (self.mask_token + self.position_embedding[:, 1:]).to(x.dtype).expand(x.size(0), -1, -1)
        return torch.cat([x[:, :1], hidden.scatter(1, indices[..., None].expand_as(visible), visible)], dim=1)


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
    visible_patches = 0
    if cfg.visible_patches_only:
        masked = masked_patch_count(cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, size.patch_size)
        visible_patches = (cfg.image_size // size.patch_size) ** 2 - masked
    return VisionTransformer(cfg.image_size, *size, dropout=cfg.dropout, visible_patches=visible_patches)


for _name, _size in VIT_SIZES.items():
    register_image_encoder(_name)(partial(build_vit, size=_size))
