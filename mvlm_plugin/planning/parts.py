"""Which part of the model is at work, in the forward and in the backward pass."""

from bisect import bisect_right

import torch
from torch import nn

from ..models.parameter_groups import PARTS

# Everything else is adapters and heads.
HEADS = "heads"
# What no module does.
LOSSES = "losses"


def part_of(module_name: str) -> str:
    """Part of the model that a module, named as in named_modules(), belongs to."""
    head = module_name.partition(".")[0]
    return head if head in PARTS else HEADS


class PartFollower:
    """Knows the part whose module runs, and to which part's forward a node of the backward pass belongs.

    autograd numbers its nodes in the order in which the forward pass makes them.

    Args:
        model: its modules get hooks.
    """

    def __init__(self, model: nn.Module) -> None:
        self._stack = [LOSSES]
        self._first_nodes = [0]
        self._parts = [LOSSES]
        for name, module in model.named_modules():
            if name:
                part = part_of(name)
                module.register_forward_pre_hook(lambda *_, part=part: self._enter(part))
                module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _enter(self, part: str) -> None:
        self._stack.append(part)
        self._note()

    def _leave(self) -> None:
        self._stack.pop()
        self._note()

    def _note(self) -> None:
        if self._parts[-1] != self._stack[-1]:
            self._first_nodes.append(torch.autograd._get_sequence_nr())
            self._parts.append(self._stack[-1])

    @property
    def running(self) -> str:
        """The part whose module runs; LOSSES outside of all modules."""
        return self._stack[-1]

    @property
    def differentiated(self) -> str | None:
        """In the backward pass, the part whose forward is being differentiated; None in the forward pass."""
        node = torch._C._current_autograd_node()
        if node is None:
            return None
        return self._parts[bisect_right(self._first_nodes, node._sequence_nr()) - 1]
