"""Activation checkpointing: what a block computed is computed again in the backward pass instead of being kept."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class BlockStack(nn.Module):
    """A module that runs its blocks by run_block(), so that their activations can be checkpointed one by one."""

    checkpoint_blocks = False

    def run_block(self, block: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """block(*inputs); with checkpoint_blocks only the inputs are kept for the backward pass, in training.

        Random numbers are drawn alike in both computations, so that dropout changes neither loss nor gradients.
        """
        if self.checkpoint_blocks and self.training and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def checkpoint_activations(module: nn.Module) -> None:
    """Checkpoint the blocks of every BlockStack in a module; a module without one is checkpointed as a whole.

    As a whole, all its activations are there again for a moment in the backward pass, but not before and not beside
    those of other parts. A module whose forward changes its buffers (batch norms that follow the batches) changes them
    twice a step then.
    """
    stacks = [part for part in module.modules() if isinstance(part, BlockStack)]
    for stack in stacks:
        stack.checkpoint_blocks = True
    if not stacks:
        module.forward = partial(_checkpointed, module.forward)


def _checkpointed(forward: Callable[..., Any], *inputs: Any) -> Any:
    trains = forward.__self__.training and torch.is_grad_enabled()  # type: ignore[attr-defined]
    return checkpoint(forward, *inputs, use_reentrant=False) if trains else forward(*inputs)
