"""AdamW (Loshchilov and Hutter, 2019) with a learning rate for each part of the model, for ``--optimizer adamw_parts``.

The learning-rate schedule is one for all parts: where it halves --lr, it halves the encoders' rates too.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, List, Optional  # noqa: UP035  (fairseq reads annotations of configs)

import torch
from fairseq import metrics
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II
from torch import nn

from ..models.parameter_groups import ENCODER_PARTS, MAIN, tag_of
from .weight_ema import AVERAGE, update_averages

_FUSED_DEVICES = ("cpu", "cuda")
_NAMES_SHOWN = 5


@dataclass
class AdamWPartsConfig(FairseqDataclass):
    """Options of ``--optimizer adamw_parts``. The rate of all but the encoders is --lr."""

    image_encoder_lr: Optional[float] = field(
        default=None, metadata={"help": "peak learning rate of the image encoder; None = --lr"}
    )
    text_encoder_lr: Optional[float] = field(
        default=None, metadata={"help": "peak learning rate of the text encoder; None = --lr"}
    )
    weight_decay: float = field(
        default=0.05,
        metadata={
            "help": "weight decay, multiplied by the learning rate; none on norms, biases, position embeddings, "
            "learned tokens and the temperature"
        },
    )
    adamw_betas: List[float] = field(  # noqa: UP006
        default_factory=lambda: [0.9, 0.999], metadata={"help": "decay of the averages of gradients and their squares"}
    )
    adamw_eps: float = field(default=1e-8, metadata={"help": "added to the denominator"})
    weight_ema: float = field(
        default=0.0,
        metadata={
            "help": "keep an exponential moving average of the weights with this decay, e.g. 0.9999, in the "
            "checkpoint; python -m mvlm_plugin.ema makes a model of it; 0 = off"
        },
    )
    lr: List[float] = field(default=II("optimization.lr"))  # noqa: UP006


@register_optimizer("adamw_parts", dataclass=AdamWPartsConfig)
class AdamWParts(FairseqOptimizer):
    """AdamW in groups by part and decay, fused where the device has it.

    Args:
        cfg: the options.
        params: parameters of a model whose constructor ran tag_parameters(); frozen ones left out by fairseq.

    Raises:
        ValueError: an option out of range, or a parameter that is not tagged.
    """

    def __init__(self, cfg: AdamWPartsConfig, params: Iterable[nn.Parameter]) -> None:
        super().__init__(cfg)
        self.weight_ema = float(cfg.weight_ema)
        rates = self._rates()
        groups: dict[tuple[str, bool], list[tuple[str, nn.Parameter]]] = {
            (part, decay): [] for part in rates for decay in (True, False)
        }
        for parameter in params:
            tag = tag_of(parameter)
            groups[tag.part, tag.decay].append((tag.name, parameter))
        main_rate = rates[MAIN]
        weight_decay = self.optimizer_config["weight_decay"]
        fused = all(p.device.type in _FUSED_DEVICES for named in groups.values() for _, p in named)
        self._optimizer = torch.optim.AdamW(
            [
                {
                    "params": named,
                    "part": part,
                    "lr": rates[part],
                    "lr_scale": rates[part] / main_rate,
                    "weight_decay": weight_decay if decay else 0.0,
                }
                for (part, decay), named in groups.items()
                if named
            ],
            **self.optimizer_config,
            fused=fused or None,
        )

    def _rates(self) -> dict[str, float]:
        """Peak learning rate of each part, MAIN first.

        Raises:
            ValueError: an option out of range.
        """
        rates = {MAIN: self.optimizer_config["lr"]}
        for part in ENCODER_PARTS:
            rate = getattr(self.cfg, f"{part}_lr")
            rates[part] = rates[MAIN] if rate is None else float(rate)
        for part, rate in rates.items():
            if rate <= 0:
                flag = "--lr" if part == MAIN else f"--{part.replace('_', '-')}-lr"
                raise ValueError(f"{flag} {rate} must be above 0")
        if not 0.0 <= self.weight_ema < 1.0:
            raise ValueError(f"--weight-ema {self.weight_ema} must lie between 0 and 1, 1 excluded")
        return rates

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """Arguments of torch.optim.AdamW."""
        lr = self.cfg.lr[0] if isinstance(self.cfg.lr, Sequence) else self.cfg.lr
        return {
            "lr": float(lr),
            "betas": tuple(self.cfg.adamw_betas),
            "eps": self.cfg.adamw_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def get_lr(self) -> float:
        """The rate of all but the encoders."""
        group = self.param_groups[0]
        return group["lr"] / group["lr_scale"]

    def set_lr(self, lr: float) -> None:
        """Set the rate of all but the encoders; the encoders' change in proportion."""
        for group in self.param_groups:
            group["lr"] = lr * group["lr_scale"]
            if group["part"] != MAIN and group["lr_scale"] != 1.0:
                metrics.log_scalar(f"lr_{group['part']}", group["lr"], weight=0, priority=301)

    def step(self, closure: Callable[[], Any] | None = None, scale: float = 1.0, groups: Any = None) -> None:
        """One update, and one of the weights' moving average where it is kept."""
        super().step(closure, scale, groups)
        if self.weight_ema:
            update_averages(self.optimizer, self.weight_ema)

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: dict[str, Any] | None = None) -> None:
        """Take over the averages of a checkpoint by parameter name; options are those of the command line.

        Raises:
            ValueError: the checkpoint trained other parameters, or --optimizer-overrides was given.
        """
        if optimizer_overrides:
            raise ValueError("adamw_parts takes its options from the command line; leave --optimizer-overrides away")
        saved = {
            name: state_dict["state"].get(index)
            for group in state_dict["param_groups"]
            for name, index in zip(group["param_names"], group["params"], strict=True)
        }
        own = self.optimizer.state_dict()
        names = {
            index: name
            for group in own["param_groups"]
            for name, index in zip(group["param_names"], group["params"], strict=True)
        }
        _check_same_parameters(set(saved), set(names.values()))
        own["state"] = {index: saved[name] for index, name in names.items() if saved[name] is not None}
        if not self.weight_ema:
            for state in own["state"].values():
                state.pop(AVERAGE, None)
        self.optimizer.load_state_dict(own)
        first = state_dict["param_groups"][0]
        self.set_lr(first["lr"] / first["lr_scale"])


def _check_same_parameters(saved: set[str], wanted: set[str]) -> None:
    """Raises ValueError, naming parameters, where a checkpoint's optimizer state belongs to other parameters."""
    if saved == wanted:
        return
    unknown, superfluous = sorted(wanted - saved), sorted(saved - wanted)
    parts = []
    for names, text in ((unknown, "were not trained before"), (superfluous, "are not trained any more")):
        if names:
            more = f" and {len(names) - _NAMES_SHOWN} others" if len(names) > _NAMES_SHOWN else ""
            parts.append(f"{', '.join(names[:_NAMES_SHOWN])}{more} {text}")
    raise ValueError(
        f"cannot resume: {'; '.join(parts)}. Freeze the same parts as the checkpoint, start the optimizer afresh with "
        "--reset-optimizer, or start a new run with --finetune-from-model."
    )
