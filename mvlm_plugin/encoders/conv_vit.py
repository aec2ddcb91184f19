"""Vision Transformers on convolutions: on small new ones (Xiao et al., 2021), or on pre-trained ones (hybrids)."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..modules.convolutional_stem import ConvolutionalStem
from ..modules.patches import patchify
from ..registry import register_image_encoder
from .efficientnet_lite import EfficientNetStages, lite0_network
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
        return _with_positions(self, self.patch_embedding(images, image_mask), image_mask)


def _build(cfg: "MvlmConfig", name: str) -> ConvolutionalVisionTransformer:
    return ConvolutionalVisionTransformer(cfg.image_size, VIT_SIZES[name], cfg.dropout)


class HybridVisionTransformer(VisionTransformer):
    """A ViT that reads a pre-trained network's feature map beside the pixels; takes and returns what the ViT does.

    The hybrid of Dosovitskiy et al., 2021, but the pixels of a patch go with the features of its place: features of
    early stages tell shapes, and colours are plain in the pixels. Masked as in ConvolutionalVisionTransformer.

    Args:
        image_size: pixels a side; divisible by the patch size.
        size: of the transformer; a patch is made of whole cells of the feature map.
        stem: gives the feature map.
        dropout: probability on residual branches.

    Raises:
        ValueError: image_size is not possible.
    """

    weights_format = EfficientNetStages.weights_format

    def __init__(self, image_size: int, size: VitSize, stem: EfficientNetStages, dropout: float = 0.0) -> None:
        super().__init__(image_size, *size, dropout=dropout)
        self.stem = stem
        self._cells = size.patch_size // stem.patch_size
        features = stem.width * self._cells**2
        self.feature_norm = nn.LayerNorm(features, eps=1e-6)
        self.patch_embedding = nn.Linear(features + 3 * size.patch_size**2, size.width)

    @property
    def new_parameters(self) -> list[str]:
        """What is not in the weights of the stem."""
        return [name for name in self.state_dict() if not name.startswith("stem.")]

    def packaged_weights(self) -> Path:
        """Those of the stem, see there."""
        return self.stem.packaged_weights()

    def convert_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the stem's network, as one of this module."""
        return {f"stem.{name}": tensor for name, tensor in self.stem.convert_weights(state).items()}

    def freeze(self, stages: int) -> None:
        """Do not train the first stages: the stem's, then the patch embedding with one block, then a block each.

        Raises:
            ValueError: there are not so many.
        """
        convolutional = min(stages, len(self.stem.stages))
        if stages > len(self.stem.stages) + len(self.blocks):
            known = len(self.stem.stages) + len(self.blocks)
            raise ValueError(f"--frozen-image-stages {stages}: this encoder has {known}")
        self.stem.freeze(convolutional)
        if stages > convolutional:
            super().freeze(stages - convolutional)
            self.feature_norm.requires_grad_(False)

    def _embed(self, images: Tensor, image_mask: Tensor | None, indices: Tensor | None) -> Tensor:
        features = self.feature_norm(patchify(self.stem.feature_map(images, image_mask), self._cells))
        pixels = patchify(images, self.patch_size)
        pixels = pixels.repeat(features.size(0) // pixels.size(0), 1, 1)
        x = self.patch_embedding(torch.cat([features, pixels], dim=2))
        return _with_positions(self, x, image_mask)


def _with_positions(encoder: VisionTransformer, x: Tensor, image_mask: Tensor | None) -> Tensor:
    """Patches (K * B, P, width) -> [CLS] and patches with their positions, mask tokens in masked places."""
    if image_mask is not None:
        x = torch.where(image_mask[..., None], encoder.mask_token.to(x.dtype), x)
    cls = encoder.cls_token.expand(x.size(0), -1, -1)
    return torch.cat([cls, x], dim=1) + encoder.position_embedding


for _name in ("vit_tiny_patch8", "vit_tiny_patch16"):
    register_image_encoder(f"conv_{_name}")(partial(_build, name=_name))


@register_image_encoder("hybrid_vit_tiny_patch16")
def build_hybrid_vit_tiny_patch16(cfg: "MvlmConfig") -> HybridVisionTransformer:
    """The tiny ViT on EfficientNet-Lite0's first four stages, whose cells have 8 pixels a side.

    Raises:
        ImportError: the extra ``lite`` is not installed.
    """
    network = lite0_network(cfg, "hybrid_vit_tiny_patch16")
    stem = EfficientNetStages(network, cfg.image_size, cfg.train_batch_norm, stages=4)
    return HybridVisionTransformer(cfg.image_size, VIT_SIZES["vit_tiny_patch16"], stem, cfg.dropout)
