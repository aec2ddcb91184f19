"""Learned position embeddings between image sizes and caption lengths."""

import logging
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

logger = logging.getLogger(__name__)

IMAGE = "image_encoder.position_embedding"
TEXT = "text_encoder.position_embedding"


def resize_image_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Interpolate the position embedding of a square grid of patches; that of [CLS] stays as it is.

    Bicubic between the centres of patches, as DeiT (Touvron et al., 2021) does it for larger images, with the kernel
    that keeps linear fields and, where there are fewer patches than before, averages (as timm does).

    Args:
        positions: (1, g * g + 1, D), [CLS] first.
        grid: rows and columns of patches wanted.

    Returns:
        Tensor of shape (1, rows * columns + 1, D); the same tensor where the grid has this size already.

    Raises:
        ValueError: the patches of ``positions`` form no square.
    """
    side = math.isqrt(max(positions.size(1) - 1, 0))
    if side == 0 or side * side + 1 != positions.size(1):
        raise ValueError(f"a position embedding of {positions.size(1)} entries is not [CLS] and a square of patches")
    if (side, side) == grid:
        return positions
    # (1, g * g, D) -> (1, D, g, g)
    field = positions[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    resized = F.interpolate(field, size=grid, mode="bicubic", align_corners=False, antialias=True)
    patches = resized.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :1], patches], dim=1)


def fit_positions(state: dict[str, Any], model: nn.Module) -> None:
    """Bring the position embeddings of a checkpoint of ours to a model's image size and caption length, in place.

    Image positions are interpolated; text positions are cut. Where the checkpoint has fewer text positions than
    the model, they stay, and loading says so.

    Args:
        state: state dict of an MvlmModel.
        model: an MvlmModel.
    """
    own = model.state_dict()
    if IMAGE in state and IMAGE in own and state[IMAGE].shape != own[IMAGE].shape:
        side, before = math.isqrt(own[IMAGE].size(1) - 1), math.isqrt(state[IMAGE].size(1) - 1)
        state[IMAGE] = resize_image_positions(state[IMAGE], (side, side))
        logger.info("image positions interpolated: %d x %d patches -> %d x %d", before, before, side, side)
    if TEXT in state and TEXT in own and state[TEXT].size(1) > own[TEXT].size(1):
        state[TEXT] = state[TEXT][:, : own[TEXT].size(1)].clone()
