"""uint8 pixels to normalised floats and back."""

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
