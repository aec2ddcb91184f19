"""Images as sequences of patches, and masks on them."""

import torch
from torch import Tensor, nn

# A patch of one colour has no deviation to divide by.
_LEAST_VARIANCE = 1e-6


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into square patches, row by row.

    Args:
        images: (B, C, H, W); H and W divisible by patch_size.

    Returns:
        Tensor of shape (B, (H / p) * (W / p), C * p * p), each patch in (channel, row, column) order.
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    # (B, C, rows, p, columns, p) -> (B, rows, columns, C, p, p)
    blocks = images.view(batch, channels, rows, patch_size, columns, patch_size).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(batch, rows * columns, channels * patch_size * patch_size)


def unpatchify(patches: Tensor, patch_size: int, columns: int) -> Tensor:
    """Inverse of patchify for 3-channel images that are ``columns`` patches wide. Returns (B, 3, H, W)."""
    batch, count, _ = patches.shape
    rows = count // columns
    # (B, rows, columns, 3, p, p) -> (B, 3, rows, p, columns, p)
    blocks = patches.view(batch, rows, columns, 3, patch_size, patch_size).permute(0, 3, 1, 4, 2, 5)
    return blocks.reshape(batch, 3, rows * patch_size, columns * patch_size)


def normalize_patches(patches: Tensor) -> Tensor:
    """Each patch (..., K) less its own mean and divided by its own deviation: what is left is its structure.

    As He et al., Masked Autoencoders (2022), section 4, "Reconstruction target".
    """
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + _LEAST_VARIANCE).sqrt()


def restore_patches(normalized: Tensor, original: Tensor) -> Tensor:
    """Inverse of normalize_patches(), with mean and deviation of the original patches. Shapes are equal."""
    variance, mean = torch.var_mean(original, dim=-1, keepdim=True)
    return normalized * (variance + _LEAST_VARIANCE).sqrt() + mean


def blocks_to_patches(block_mask: Tensor, block_size: int, patch_size: int, grid: int) -> Tensor:
    """A mask of square pixel blocks as a mask of patches.

    Args:
        block_mask: (B, R, R) bool, True = masked; blocks of block_size pixels, the last ones may overhang the image.
        block_size: pixels a block side; a multiple of patch_size.
        patch_size: pixels a patch side.
        grid: patches a side of the image.

    Returns:
        Tensor of shape (B, grid * grid), bool.
    """
    factor = block_size // patch_size
    fine = block_mask.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
    return fine[:, :grid, :grid].flatten(1)


def visible_indices(image_mask: Tensor, visible: int) -> Tensor:
    """Where the visible patches of each image are, in order, without waiting for the device.

    Args:
        image_mask: (B, P) bool, True = masked; every row has ``visible`` False values.
        visible: number of visible patches an image.

    Returns:
        (B, visible) int64.

    Raises:
        RuntimeError: another number is visible in some image (on a GPU at its next synchronisation).
    """
    torch._assert_async((~image_mask).sum(dim=1).eq(visible).all(), "masks with other numbers of visible patches")
    return image_mask.to(torch.uint8).argsort(dim=1, stable=True)[:, :visible]


def masked_indices(image_mask: Tensor, most: int) -> Tensor:
    """Where the masked patches of each image are, in order, without waiting for the device.

    Args:
        image_mask: (B, P) bool, True = masked.
        most: masked patches of an image at most; where an image has fewer, visible ones follow.

    Returns:
        (B, most) int64.

    Raises:
        RuntimeError: more patches are masked in some image (on a GPU at its next synchronisation).
    """
    torch._assert_async(image_mask.sum(dim=1).le(most).all(), "more patches are masked than the mask ratio says")
    return image_mask.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]


class PatchEmbedding(nn.Module):
    """Linear embedding of patches; the same map as a convolution whose stride is its kernel size."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(3 * patch_size * patch_size, width)

    def forward(self, images: Tensor, indices: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, P, width), or (B, V, width) of the patches that indices (B, V) int64 choose."""
        patches = patchify(images, self.patch_size)
        return self.projection(patches if indices is None else patches.take_along_dim(indices[..., None], dim=1))
