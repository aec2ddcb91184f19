"""Looking at a model in the midst of its training without changing what comes of it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ..distributed import alone

_SEED = 20230501


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """The model in eval mode on this process alone, with random numbers of its own.

    Afterwards every module is in the mode that it was in and every random generator at its place. What torch.compile
    made of the model is neither used nor added to: other shapes would have it compiled anew.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), alone(), torch.compiler.set_stance("force_eager"):
            torch.manual_seed(_SEED)
            model.eval()
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for module, mode in modes:
            module.training = mode
