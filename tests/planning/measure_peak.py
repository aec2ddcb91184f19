"""Run in a process of its own: how much resident memory a training step really needs at its peak, in bytes.

Usage: python -m tests.planning.measure_peak ARCHITECTURE VOCABULARY PAIRS ACCUMULATES [OPTION=VALUE ...]

glibc must give freed tensors back at once (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_), as measure() has it.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
UNITS = {int: int, bool: lambda text: text == "True", str: str, float: float}


def measure(architecture: str, vocabulary: int, pairs: int, accumulates: bool = False, **overrides: Any) -> int:
    """Bytes by which the resident memory of a fresh process grows from before the model is there to its peak."""
    arguments = [architecture, str(vocabulary), str(pairs), str(accumulates)]
    arguments += [f"{name}={value}" for name, value in overrides.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    environment["MALLOC_TRIM_THRESHOLD_"] = "65536"
    command = [sys.executable, "-m", "tests.planning.measure_peak", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def highest() -> int:
    """The most bytes of this program that were in memory; ru_maxrss counts those of the process it came from, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def train(options: Any, pairs: int, accumulates: bool) -> None:
    """Two updates with AdamW, so that gradients, averages and activations are there together."""
    model, criterion = options.build("cpu")
    batch = options.batch(pairs)
    batch["net_input"]["images"] = batch["net_input"]["images"].contiguous()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    for _ in range(2):
        for _ in range(1 + accumulates):
            loss, _, _ = criterion(model, batch)
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad()


def main(architecture: str, vocabulary: str, pairs: str, accumulates: str, *overrides: str) -> None:
    """Entry point."""
    from fairseq.models import MODEL_REGISTRY

    import mvlm_plugin  # noqa: F401
    from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterionConfig
    from mvlm_plugin.planning.step import StepOptions

    torch.set_num_threads(1)

    def options(name: str, size: int) -> Any:
        cfg = MODEL_REGISTRY[name].__dataclass()
        for override in overrides:
            key, _, value = override.partition("=")
            setattr(cfg, key, UNITS[type(getattr(cfg, key))](value))
        return StepOptions(cfg, JointMaskedVLCriterionConfig(), size)

    train(options("mvlm_tiny", 100), 2, False)  # libraries are loaded, kernels compiled
    before = resident()
    train(options(architecture, int(vocabulary)), int(pairs), accumulates == "True")
    print(highest() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
