"""How fast this machine multiplies matrices."""

import time

import torch

# Of the matrix-multiply peak, what a whole training step reaches (benchmarks/step.py).
MEASURED_SHARE = 0.8
_SIDES = {"cpu": 1024, "cuda": 8192}
_ROUNDS = 8


def matmul_rate(device: str, autocast: str) -> float:
    """FLOP/s of the fastest of some products of large square matrices, in bfloat16 with autocast "bf16"."""
    side = _SIDES[device]
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if autocast else torch.float32)
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
