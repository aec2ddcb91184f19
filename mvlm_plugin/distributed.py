"""Collectives with gradient. On one process they change nothing."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes in the job."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _AllGather(torch.autograd.Function):
    """Gather equal shapes from all ranks; the gradient of a part is the sum of what every rank wants of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd's own must not be written to
        dist.all_reduce(gradient)
        return gradient[rank()]


def gather_sizes(count: int, device: torch.device) -> list[int]:
    """Number of rows of every rank, in rank order."""
    if world_size() == 1:
        return [count]
    sizes = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([count], device=device))
    return torch.cat(sizes).tolist()


def gather_rows(x: Tensor, sizes: list[int]) -> Tensor:
    """Concatenate the rows of all ranks, in rank order, with gradient.

    Args:
        x: (n, ...) this rank's rows; n may differ between ranks.
        sizes: rows of every rank, from gather_sizes().

    Returns:
        Tensor of shape (sum(sizes), ...).
    """
    if len(sizes) == 1:
        return x
    longest = max(sizes)
    padded = torch.cat([x, x.new_zeros((longest - x.size(0), *x.shape[1:]))])
    gathered = _AllGather.apply(padded)
    return torch.cat([gathered[r, :size] for r, size in enumerate(sizes)])
