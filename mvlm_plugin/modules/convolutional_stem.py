"""Patches embedded by small convolutions, which learn shapes sooner than one linear map (Xiao et al., 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel: nothing of other pixels, so that masking changes only what is near."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of any memory format, the same shape comes back."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvolutionalStem(nn.Module):
    """A convolution that halves the picture, as often as a patch needs, and one that does not behind each but the last.

    Args:
        patch_size: pixels a patch side, a power of two.
        width: channels of the result; half of them at half its stride, and so on.

    Raises:
        ValueError: patch_size is no power of two of at least 2.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        halvings = patch_size.bit_length() - 1
        if patch_size != 2**halvings or not halvings:
            raise ValueError(f"a convolutional stem needs patches of 2, 4, 8, ... pixels, not {patch_size}")
        layers: list[nn.Module] = []
        before = 3
        for number in range(halvings):
            channels = width >> (halvings - 1 - number)
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), ChannelNorm(channels), nn.GELU()]
            if number < halvings - 1:
                layers += [nn.Conv2d(channels, channels, 3, padding=1), ChannelNorm(channels), nn.GELU()]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, width, 1))
        self.patch_size = patch_size

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """Embed patches; pixels of masked ones are zero, so that nothing of them reaches their neighbours.

        Args:
            images: (B, 3, H, W), normalised.
            image_mask: (K * B, P) bool, True = masked; K views of each image. None: one whole view.

        Returns:
            (K * B, P, width).
        """
        if image_mask is not None:
            rows = images.size(2) // self.patch_size
            grid = image_mask.view(image_mask.size(0), 1, rows, -1).to(images.dtype)
            hidden = F.interpolate(grid, scale_factor=self.patch_size)
            images = images.repeat(image_mask.size(0) // images.size(0), 1, 1, 1) * (1 - hidden)
        x = self.layers(images.contiguous(memory_format=torch.channels_last))
        return x.flatten(2).transpose(1, 2)
