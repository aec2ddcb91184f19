"""An exponential moving average of the weights, kept in an optimizer's state and so in every checkpoint."""

from typing import Any

import torch
from torch import Tensor

# Key of the average in a parameter's optimizer state, beside AdamW's "step", "exp_avg" and "exp_avg_sq".
AVERAGE = "weight_ema"


@torch.no_grad()
def update_averages(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """average = decay * average + (1 - decay) * weight; the first average is the weight after the first update.

    Args:
        optimizer: after its step; a parameter without state was not updated and is left out.
        decay: between 0 and 1.
    """
    averages: list[Tensor] = []
    weights: list[Tensor] = []
    for parameter, state in optimizer.state.items():
        if AVERAGE in state:
            averages.append(state[AVERAGE])
            weights.append(parameter)
        else:
            state[AVERAGE] = parameter.detach().clone()
    if averages:
        torch._foreach_lerp_(averages, weights, 1.0 - decay)


def averages_of(optimizer_state: dict[str, Any]) -> dict[str, Tensor]:
    """Averages by parameter name, from the state dict of an AdamWParts; empty where none were kept."""
    return {
        name: optimizer_state["state"][index][AVERAGE]
        for group in optimizer_state["param_groups"]
        for name, index in zip(group.get("param_names", ()), group["params"], strict=False)
        if AVERAGE in optimizer_state["state"].get(index, {})
    }
