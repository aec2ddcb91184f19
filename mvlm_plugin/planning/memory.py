"""Bytes that a step needs at its peak, followed tensor by tensor on fake tensors, which have shapes but no contents."""

import weakref
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from .parts import LOSSES, PartFollower
from .step import StepOptions

GRADIENTS, BACKWARD = "gradients", "backward"
# AdamW keeps two averages of the size of what it trains.
OPTIMIZER_STATES = 2


@dataclass
class StepMemory:
    """Bytes at the moment of a step when most are needed, and what is always there.

    weights: with buffers. trained: of the weights that are trained; gradients are as large. optimizer: AdamW's
    averages.
    at_peak: what the step made and still needed at its peak: by part of the model what the forward pass made, "losses"
    (with the batch itself), "gradients", and "backward" (temporary tensors of the backward pass).
    """

    weights: int
    trained: int
    optimizer: int
    at_peak: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes at the higher of two peaks: of the step, or of the update, when all gradients are there."""
        return self.weights + self.optimizer + max(sum(self.at_peak.values()), self.trained)


class _Entry:
    """What the tracker knows of a storage."""

    def __init__(self, size: int, owner: str) -> None:
        self.size, self.owner = size, owner


class StorageTracker(TorchDispatchMode):
    """Follows every storage from the operation that makes it until nobody refers to it.

    Counts each storage once, whatever views there are of it, on behalf of the part that runs while it is made.

    Args:
        model: what is made while its modules run is booked on their parts, and gradients as such.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._follower = PartFollower(model)
        self.live: Counter[str] = Counter()
        self.at_peak: dict[str, int] = {}
        self._total = self._peak = 0
        self._entries: Any = WeakIdKeyDictionary()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(lambda p: self._book_gradient(p.grad))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count what is new in its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def ignore(self, tensor: Tensor) -> None:
        """A tensor that was there before; it and its views are not counted."""
        self._entries[tensor.untyped_storage()] = _Entry(0, LOSSES)

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._entries:
            return
        owner = self._follower.running if self._follower.differentiated is None else BACKWARD
        entry = _Entry(storage.nbytes(), owner)
        self._entries[storage] = entry
        weakref.finalize(storage, self._forget, entry)
        self._add(entry.owner, entry.size)

    def _add(self, owner: str, size: int) -> None:
        self.live[owner] += size
        self._total += size
        if self._total > self._peak:
            self._peak, self.at_peak = self._total, dict(self.live)

    def _forget(self, entry: _Entry) -> None:
        self._add(entry.owner, -entry.size)

    def _book_gradient(self, gradient: Tensor) -> None:
        entry = self._entries[gradient.untyped_storage()]
        self.live[entry.owner] -= entry.size
        self.live[GRADIENTS] += entry.size
        entry.owner = GRADIENTS


class _AutocastOfGpus(TorchFunctionMode):
    """Layer norms in float32 as autocast has them on a GPU; on a CPU it leaves them in bfloat16."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.layer_norm:
            args = (args[0].float(), *args[1:])
        return func(*args, **kwargs)


def _bytes(tensors: Any) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def step_memory(options: StepOptions, pairs: int, device: str = "cpu", accumulates: bool = False) -> StepMemory:
    """Follow one step (forward, backward) of a batch.

    Args:
        options: of the step.
        pairs: of the batch on one device.
        device: whose kernels to assume, "cpu" or "cuda"; the latter needs torch to see a GPU.
        accumulates: gradients of an earlier batch are there already (--update-freq above 1).
    """
    model, criterion = options.build("meta")
    batch = options.batch(pairs)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device=device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        tracker = StorageTracker(model)
        kept = [*model.parameters(), *model.buffers()]
        for tensor in kept:
            tracker.ignore(tensor)
        if accumulates:
            for parameter in trained:
                parameter.grad = torch.zeros_like(parameter)
                tracker.ignore(parameter.grad)
        with tracker, _AutocastOfGpus() if options.autocast else nullcontext():
            options.run(model, criterion, batch, device)
    weights, size = _bytes(kept), _bytes(trained)
    gradients = {GRADIENTS: size} if accumulates else {}
    return StepMemory(weights, size, OPTIMIZER_STATES * size, tracker.at_peak | gradients)
