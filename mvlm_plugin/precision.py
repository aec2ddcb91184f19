"""float32 where it matters under torch.autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """A region without autocast: matrix products of float32 tensors stay in float32. Cast inputs to float yourself."""
    if not torch.amp.is_autocast_available(device.type):  # e.g. the meta device, where FLOPs are counted
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
