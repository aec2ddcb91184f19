"""From a step's costs to a plan: batch a GPU, accumulation, time, learning rates."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .fit import MemoryOf
from .memory import GRADIENTS
from .operations import count_step
from .step import StepOptions

# The paper's: batch, peak learning rate, and that of the pre-trained encoders (Kwon et al., 2023).
PAPER_BATCH, PAPER_RATE, PAPER_ENCODER_RATE = 512, 3e-4, 1e-5


@dataclass
class Machine:
    """gpus: of the job. memory: bytes of one. rate: FLOP/s of one, if known. device: whose kernels to assume."""

    gpus: int
    memory: int
    rate: float | None
    device: str


@dataclass
class Plan:
    """memory: bytes on one GPU by what needs them, those of a step that needs too much where it does not fit."""

    architecture: str
    options: StepOptions
    changed: dict[str, Any]
    machine: Machine
    parameters: int
    gflops_a_pair: float
    most_pairs: int
    pairs: int
    update_freq: int
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether one pair fits at all."""
        return self.pairs > 0

    @property
    def batch(self) -> int:
        """Pairs an update, of all GPUs."""
        return self.pairs * self.machine.gpus * self.update_freq

    @property
    def seconds(self) -> float | None:
        """An update's, from the operations alone: reading data and exchanging gradients are not in it."""
        if not self.machine.rate:
            return None
        return self.pairs * self.update_freq * self.gflops_a_pair * 1e9 / self.machine.rate

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of the model and of pre-trained encoders: the paper's, in proportion to the batch."""
        factor = self.batch / PAPER_BATCH
        return PAPER_RATE * factor, PAPER_ENCODER_RATE * factor

    def as_dict(self) -> dict[str, Any]:
        """For JSON: bytes, seconds, FLOPs."""
        rate, encoder_rate = self.rates
        return {
            "arch": self.architecture,
            "options": self.changed,
            "machine": asdict(self.machine),
            "parameters": self.parameters,
            "gflops_a_pair": self.gflops_a_pair,
            "fits": self.fits,
            "most_pairs_a_gpu": self.most_pairs,
            "pairs_a_gpu": self.pairs,
            "update_freq": self.update_freq,
            "feature_cache_chunk": self.options.feature_cache_chunk,
            "batch": self.batch,
            "memory": {**self.memory, "total": sum(self.memory.values())},
            "seconds_an_update": self.seconds,
            "lr": rate,
            "encoder_lr": encoder_rate,
            "command": command(self) if self.fits else None,
        }


def memory_parts(memory: MemoryOf, pairs: int) -> dict[str, int]:
    """Bytes by what needs them; their sum is what the step or the update needs at its peak."""
    step = memory.step(pairs)
    parts = {"weights": step.weights, "AdamW's averages": step.optimizer, "gradients": step.at_peak.get(GRADIENTS, 0)}
    if sum(step.at_peak.values()) < step.trained:  # the update needs more than the step
        parts[GRADIENTS] = step.trained
    else:
        parts |= {name: size for name, size in step.at_peak.items() if name != GRADIENTS}
    return parts | {"exchange of gradients": memory.exchange(pairs)}


def make_plan(architecture: str, options: StepOptions, machine: Machine, batch: int, changed: dict[str, Any]) -> Plan:
    """Choose batch a GPU and accumulation.

    Args:
        architecture: its name.
        options: of the step; feature_cache_chunk keeps the whole share of a GPU in one batch.
        machine: to train on.
        batch: pairs an update of all GPUs, rounded up to what the GPUs share evenly; 0 = as many as fit at once.
        changed: options that differ from the architecture's, for the command line.
    """
    cost = count_step(options)
    memory = MemoryOf(options, machine.gpus, machine.device)
    most = memory.largest(machine.memory)
    share, update_freq = math.ceil(batch / machine.gpus) or most, 1
    if 0 < most < share:
        memory = MemoryOf(options, machine.gpus, machine.device, accumulates=True)
        most = memory.largest(machine.memory)
        update_freq = math.ceil(share / most) if most else 1
    pairs = min(most, math.ceil(share / update_freq))
    parts = memory_parts(memory, max(pairs, 1))
    return Plan(architecture, options, changed, machine, cost.parameters, cost.gflops, most, pairs, update_freq, parts)


def command(plan: Plan) -> str:
    """The fairseq-train line for one machine; several need the launching options too."""
    rate, encoder_rate = plan.rates
    line = [f"fairseq-train DATA --user-dir mvlm_plugin --task joint_masked_vl --arch {plan.architecture}"]
    for name, value in plan.changed.items():
        flag = f"--{name.replace('_', '-')}"
        line.append(flag if value is True else f"{flag} {value}")
    line.append(f"--criterion joint_masked_vl --batch-size {plan.pairs} --update-freq {plan.update_freq}")
    if plan.options.feature_cache_chunk:
        line.append(f"--feature-cache-chunk {plan.options.feature_cache_chunk} --ddp-backend legacy_ddp")
    if plan.options.autocast:
        line.append(f"--autocast {plan.options.autocast}")
    line.append(f"--optimizer adamw_parts --lr {rate:.3g} --image-encoder-lr {encoder_rate:.3g}")
    line.append(f"--text-encoder-lr {encoder_rate:.3g} --lr-scheduler cosine --warmup-updates 1000 --clip-norm 1.0")
    return " ".join(line)
