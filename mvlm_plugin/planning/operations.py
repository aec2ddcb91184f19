"""Parameters and floating-point operations of a step, by part of the model."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .parts import HEADS, LOSSES, PARTS, PartFollower
from .step import StepOptions

# Enough that every pair finds negatives; what grows faster than the batch (similarities) stays negligible.
PAIRS = 8


@dataclass
class StepCost:
    """Exact parameters, and GFLOPs a pair of forward and backward: of a model, and of its parts."""

    parameters: int
    gflops: float
    part_parameters: dict[str, int]
    part_gflops: dict[str, float]


class FlopCounter(TorchDispatchMode):
    """Operations by part, counted by the formulas of torch.utils.flop_counter.

    Args:
        follower: of the model that runs.
    """

    def __init__(self, follower: PartFollower) -> None:
        super().__init__()
        self.follower = follower
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it on behalf of the part it works for."""
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            part = self.follower.running if self.follower.running != LOSSES else self.follower.differentiated
            if packet == torch.ops.aten.convolution_backward:
                count = _convolution_backward_flops(*args)
            else:
                count = flop_registry[packet](*args, **(kwargs or {}), out_val=result)
            self.flops[part or LOSSES] += count
        return result


def _convolution_backward_flops(gradient: Tensor, x: Tensor, weight: Tensor, *others: Any) -> int:
    """As many operations as forward for each wanted gradient; torch's own count forgets that groups are not mixed."""
    wants_input, wants_weight, _ = others[-1]
    forward = 2 * gradient.numel() * weight[0].numel()
    return forward * (wants_input + wants_weight)


def count_parameters(module: nn.Module) -> int:
    """Numbers that a module consists of, shared ones once, frozen ones included."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_step(options: StepOptions) -> StepCost:
    """Count a step on the meta device, where nothing is computed; a multiplication and an addition count as two.

    Counted are matrix products, convolutions and attention.
    """
    if options.feature_cache_chunk:
        options = replace(options, feature_cache_chunk=PAIRS // 2)
    model, criterion = options.build("meta")
    with FlopCounter(PartFollower(model)) as counter:
        options.run(model, criterion, options.batch(PAIRS), "meta")
    flops = {part: counter.flops[part] / PAIRS / 1e9 for part in PARTS}
    total = counter.flops.total() / PAIRS / 1e9
    parameters = {part: count_parameters(getattr(model, part)) for part in PARTS}
    whole = count_parameters(model)
    flops[HEADS], parameters[HEADS] = total - sum(flops.values()), whole - sum(parameters.values())
    return StepCost(whole, total, parameters, flops)
