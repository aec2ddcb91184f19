"""Losses of masked language modeling and masked image modeling, per sample.

Both are means over what is masked of *one sample*; a batch's loss is the mean over its samples. Sums over samples
are then additive: accumulated micro-batches and ranks give exactly the gradient of one large batch.
"""

import torch.nn.functional as F
from torch import Tensor


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of each masked token. logits (M, V), targets (M,) -> (M,) float32."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


def caption_sums(values: Tensor, positions: Tensor, batch: int, length: int) -> Tensor:
    """Sum values of masked tokens within each caption.

    Args:
        values: (M,) one value a masked token.
        positions: (M,) int64, distinct, row * length + column of each token in its batch.
        batch: captions B.
        length: tokens L a caption, padding counted.

    Returns:
        Tensor of shape (B,).
    """
    # Distinct positions: a plain scatter, without atomic additions whose order could change the last bit.
    return values.new_zeros(batch * length).scatter(0, positions, values).view(batch, length).sum(dim=1)


def mlm_losses(logits: Tensor, targets: Tensor, positions: Tensor, batch: int, length: int) -> Tensor:
    """MLM loss of each caption: mean cross-entropy over its masked tokens, 0 where none is masked.

    Args:
        logits: (M, V) predictions of the masked tokens.
        targets: (M,) true ids.
        positions, batch, length: see caption_sums.

    Returns:
        Tensor of shape (B,), nats.
    """
    losses = token_losses(logits, targets)
    sums = caption_sums(losses, positions, batch, length)
    counts = caption_sums(losses.new_ones(losses.shape), positions, batch, length)
    return sums / counts.clamp_min(1.0)


def mim_losses(predicted: Tensor, target: Tensor, image_mask: Tensor) -> Tensor:
    """MIM loss of each image: mean absolute difference of RGB values over its masked patches.

    Args:
        predicted, target: (B, P, K) values of every patch, in normalised pixel units.
        image_mask: (B, P) bool, True = masked.

    Returns:
        Tensor of shape (B,), float32; 0 where nothing is masked.
    """
    per_patch = (predicted.float() - target.float()).abs().mean(dim=2)
    return (per_patch * image_mask).sum(dim=1) / image_mask.sum(dim=1).clamp_min(1)
