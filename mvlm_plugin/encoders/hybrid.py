"""A Vision Transformer on the feature map of a pre-trained network: the hybrid of Dosovitskiy et al., 2021."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..registry import register_image_encoder
from .efficientnet_lite import EfficientNetStages, lite0_network
from .vit import VIT_SIZES, VisionTransformer, VitSize

if TYPE_CHECKING:
    from ..models.config import MvlmConfig


class HybridVisionTransformer(VisionTransformer):
    """A ViT whose patches are the cells of a feature map; takes and returns what VisionTransformer does.

    The features of early stages see little beyond their own patch, so that a token still says what is in its place.
    What is masked is masked in pixel space first, since convolutions reach over; then the mask token takes the patch's
    place.

    Args:
        image_size: pixels a side; divisible by the patch size.
        size: of the transformer; its patch size is that of the stem.
        stem: gives the feature map.
        dropout: probability on residual branches.

    Raises:
        ValueError: image_size is not divisible by the patch size.
    """

    weights_format = EfficientNetStages.weights_format

    def __init__(self, image_size: int, size: VitSize, stem: EfficientNetStages, dropout: float = 0.0) -> None:
        super().__init__(image_size, *size, dropout=dropout)
        self.stem = stem
        self.patch_embedding = nn.Sequential(nn.LayerNorm(stem.width, eps=1e-6), nn.Linear(stem.width, size.width))

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
        """Do not train the first stages: those of the stem, then the patch embedding with a block, then a block each.

        Raises:
            ValueError: there are not so many.
        """
        known = len(self.stem.stages) + len(self.blocks)
        if not 0 <= stages <= known:
            raise ValueError(f"--frozen-image-stages {stages}: this image encoder has {known}")
        self.stem.freeze(min(stages, len(self.stem.stages)))
        super().freeze(max(0, stages - len(self.stem.stages)))

    def _embed(self, images: Tensor, image_mask: Tensor | None, indices: Tensor | None) -> Tensor:
        # (K * B, features, rows, columns) -> (K * B, P, features)
        features = self.stem.feature_map(images, image_mask).flatten(2).transpose(1, 2)
        x = self.patch_embedding(features)
        if image_mask is not None:
            x = torch.where(image_mask[..., None], self.mask_token.to(x.dtype), x)
        return torch.cat([self.cls_token.expand(x.size(0), -1, -1), x], dim=1) + self.position_embedding


@register_image_encoder("hybrid_vit_tiny_patch16")
def build_hybrid_vit_tiny_patch16(cfg: "MvlmConfig") -> HybridVisionTransformer:
    """The tiny ViT on EfficientNet-Lite0's first five stages: 80 features for each patch of 16 pixels.

    Raises:
        ImportError: the extra ``lite`` is not installed.
    """
    network = lite0_network(cfg, "hybrid_vit_tiny_patch16")
    stem = EfficientNetStages(network, cfg.image_size, cfg.train_batch_norm, stages=5)
    return HybridVisionTransformer(cfg.image_size, VIT_SIZES["vit_tiny_patch16"], stem, cfg.dropout)
