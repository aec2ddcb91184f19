"""Collectives with gradient. On one process they change nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_is_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """For what one process does while the others go on: within, it is a job of its own and exchanges nothing."""
    global _is_alone
    before, _is_alone = _is_alone, True
    try:
        yield
    finally:
        _is_alone = before


def world_size() -> int:
    """Number of processes in the job."""
    if _is_alone:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process."""
    if _is_alone:
        return 0
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


class _AllToAll(torch.autograd.Function):
    """Send ``sent[r]`` consecutive rows to each rank r and receive ``received[r]`` from it; gradients go back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.counts = sent, received
        return _all_to_all(x, sent, received)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        sent, received = ctx.counts
        return _all_to_all(gradient, received, sent), None, None


def _all_to_all(x: Tensor, sent: list[int], received: list[int]) -> Tensor:
    result = x.new_empty((sum(received), *x.shape[1:]))
    dist.all_to_all_single(result, x.contiguous(), received, sent)
    return result


def gather_sizes(count: int, device: torch.device) -> list[int]:
    """Number of rows of every rank, in rank order; the host waits for the device."""
    if world_size() == 1:
        return [count]
    sizes = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(world_size())]
    dist.all_gather(sizes, torch.tensor([count], device=device))
    return torch.cat(sizes).tolist()


def padded_rows(count: int, capacity: int | None, device: torch.device) -> int:
    """Rows that every rank pads its own to before a gather, so that all shapes are equal.

    With a capacity nothing is exchanged and no host waits for its device; without one the ranks exchange their
    sizes and the largest is taken. One process pads nothing.

    Args:
        count: rows of this rank.
        capacity: most rows that any rank can have, alike on all ranks; None = unknown.
        device: that collectives run on.

    Raises:
        ValueError: more rows than the capacity.
    """
    if world_size() == 1:
        return count
    if capacity is None:
        return max(gather_sizes(count, device))
    if count > capacity:
        raise ValueError(f"rank {rank()} has {count} pairs in a batch; set --batch-size to at least {count}")
    return capacity


def gather_padded(x: Tensor, rows: int, fill: float = 0) -> Tensor:
    """Pad to ``rows`` rows and concatenate all ranks' in rank order, with gradient.

    Args:
        x: (n, ...) this rank's rows, at most ``rows``.
        rows: from padded_rows().
        fill: value of padding rows.

    Returns:
        Tensor of shape (world * rows, ...); x itself on one process.
    """
    if world_size() == 1:
        return x
    padding = x.new_full((rows - x.size(0), *x.shape[1:]), fill)
    return _AllGather.apply(torch.cat([x, padding])).flatten(0, 1)


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
    gathered = gather_padded(x, longest)
    return torch.cat([gathered[r * longest : r * longest + size] for r, size in enumerate(sizes)])


def fetch_rows(x: Tensor, wanted: Tensor) -> Tensor:
    """Fetch rows from the ranks that have them, with gradient; only what is wanted travels.

    Args:
        x: (n, ...) this rank's rows.
        wanted: (world, R) int64 on the CPU, the same on all ranks: rank r wants as its i-th row row k of rank q,
            where wanted[r, i] = q * R + k; -1 = none. What a rank wants stands before the -1.

    Returns:
        Tensor of shape (m, ...), the m rows that this rank wants, in their order.
    """
    ranks, rows = wanted.shape
    owner = wanted.div(rows, rounding_mode="floor")
    mine = owner[rank()][wanted[rank()] >= 0]
    order = mine.argsort(stable=True)
    sent = [asked[of == rank()] - rank() * rows for asked, of in zip(wanted, owner, strict=True)]
    outgoing = x.index_select(0, torch.cat(sent).to(x.device))
    received = _AllToAll.apply(outgoing, [len(part) for part in sent], mine.bincount(minlength=ranks).tolist())
    return received.index_select(0, order.argsort().to(x.device))
