"""bfloat16 by autocast: weights, similarities and losses stay in float32."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from omegaconf import II


@dataclass
class AutocastConfig(FairseqDataclass):
    """The option, and fairseq's own ones in whose place it comes; they are read here."""

    autocast: str = field(
        default="",
        metadata={
            "help": "bf16: compute in bfloat16 where it is safe (torch.autocast), with float32 weights, similarities "
            "and losses, on GPUs and CPUs; takes the place of fairseq's --bf16, --fp16 and --amp"
        },
    )
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")


class Autocast:
    """Where a step computes in bfloat16.

    Args:
        cfg: the task's options.

    Raises:
        ValueError: an unknown type, or one of fairseq's own options.
    """

    def __init__(self, cfg: Any) -> None:
        for name in ("fp16", "bf16", "amp"):
            if getattr(cfg, name) is True:
                raise ValueError(f"--{name} does not work with this task; use --autocast bf16 instead")
        if cfg.autocast not in ("", "bf16"):
            raise ValueError(f"--autocast {cfg.autocast}: unknown; the one choice is bf16")
        self.is_on = cfg.autocast == "bf16"

    def region(self, device: torch.device) -> AbstractContextManager[Any]:
        """For forward passes: gradients of what is kept in float32 would be rounded in it."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.is_on else nullcontext()

    def around(self, criterion: Callable[..., Any]) -> Callable[..., Any]:
        """The criterion, called within a region of its own: fairseq's step switches an outer one off on GPUs."""

        def forward(model: torch.nn.Module, sample: dict[str, Any]) -> Any:
            with self.region(sample["net_input"]["tokens"].device):
                return criterion(model, sample)

        return forward
