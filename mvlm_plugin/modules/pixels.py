"""uint8 pixels to normalised floats and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# ImageNet's mean and deviation of red, green and blue, as fractions of full brightness.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class PixelNormalization(nn.Module):
    """uint8 RGB -> (x / 255 - mean) / deviation, on the device, so that batches travel as bytes."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float of the buffers' type."""
        return (images.to(self.mean.dtype) - self.mean) / self.deviation

    def undo(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> uint8, rounded and clipped."""
        return (pixels * self.deviation + self.mean).round().clamp(0, 255).to(torch.uint8)


class PixelRescaling(nn.Module):
    """Values normalised by PixelNormalization -> values normalised with another mean and deviation.

    Args:
        mean, deviation: of red, green and blue, as fractions of full brightness.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        wanted_mean, wanted_deviation = (torch.tensor(values).view(3, 1, 1) for values in (mean, deviation))
        given_mean, given_deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        self.register_buffer("scale", given_deviation / wanted_deviation, persistent=False)
        self.register_buffer("offset", (given_mean - wanted_mean) / wanted_deviation, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the same shape."""
        return images * self.scale + self.offset
