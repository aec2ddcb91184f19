"""Samples of a long run -> is it as large and as fast at its end as before?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Figure -> the most that it may be.
LIMITS = {
    "main_kib_per_1000_updates": 100.0,
    "worker_kib_per_1000_updates": 500.0,
    "main_descriptors_growth": 4,
    "worker_descriptors_growth": 4,
    "processor_time_ratio": 1.15,
}
# Of a worker's life, which is an epoch: until its caches are filled.
_WARM_UP = 0.25
_LEAST_SAMPLES = 4


class Sample(NamedTuple):
    """What is seen at one line of the log.

    update: number of updates made; wall: seconds since the start; seconds: of processor time of all processes;
    memory, descriptors: of the training process; workers: process id -> (memory, descriptors) of its loader workers.
    Memory in KiB.
    """

    update: int
    wall: float
    seconds: float
    memory: int
    descriptors: int
    workers: Mapping[int, tuple[int, int]]


def slope(updates: Sequence[float], values: Sequence[float]) -> float:
    """Growth a 1,000 updates of the straight line with the least squares."""
    return float(np.polyfit(updates, values, 1)[0] * 1000)


def _lives(samples: Sequence[Sample], column: int) -> list[list[tuple[int, int]]]:
    """(update, value) of every worker that lived long enough, without its warm-up."""
    lives: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for sample in samples:
        for pid, values in sample.workers.items():
            lives[pid].append((sample.update, values[column]))
    warm = [life[int(len(life) * _WARM_UP) :] for life in lives.values()]
    return [life for life in warm if len(life) >= _LEAST_SAMPLES]


def _more_at_the_end(before: Sequence[int], after: Sequence[int]) -> int:
    """Of the most that are open at a time: batches on their way between processes are open files, more or fewer."""
    return max(after) - max(before)


def _rate(samples: Sequence[Sample], column: str) -> float:
    """Seconds an update, as in the best quarter of a part of a run: what other programs take only ever adds."""
    updates, seconds = (np.array([getattr(s, name) for s in samples], dtype=float) for name in ("update", column))
    return float(np.quantile(np.diff(seconds) / np.diff(updates), 0.25))


def figures_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """The figures of a run.

    Args:
        samples: at least 20, in the order of updates.

    Returns:
        For each entry of LIMITS a number, and others that are only told: memory at the end, speeds. Growth of main
        memory is that of the second half; ratios are of the last fifth to the second.

    Raises:
        ValueError: too few samples, or no worker was seen for long enough.
    """
    if len(samples) < 20:
        raise ValueError(f"{len(samples)} samples are too few to judge a run by: make more updates")
    half = samples[len(samples) // 2 :]
    quarter = samples[len(samples) // 4 :]
    memory = [slope(*zip(*life, strict=True)) for life in _lives(samples, 0)]
    descriptors = [[count for _, count in life] for life in _lives(samples, 1)]
    if not memory:
        raise ValueError("no loader worker lived long enough to be judged: make epochs longer")
    second, last = (samples[len(samples) * start // 5 : len(samples) * (start + 1) // 5] for start in (1, 4))
    return {
        "updates": samples[-1].update,
        "main_kib_per_1000_updates": slope([s.update for s in half], [s.memory for s in half]),
        "worker_kib_per_1000_updates": float(np.median(memory)),
        "main_descriptors_growth": _more_at_the_end([s.descriptors for s in second], [s.descriptors for s in last]),
        "worker_descriptors_growth": max(
            _more_at_the_end(life[: len(life) // 2], life[len(life) // 2 :]) for life in descriptors
        ),
        "processor_time_ratio": _rate(last, "seconds") / _rate(second, "seconds"),
        "wall_time_ratio": _rate(last, "wall") / _rate(second, "wall"),
        "main_mib_after_a_quarter": round(quarter[0].memory / 1024, 1),
        "main_mib_at_the_end": round(samples[-1].memory / 1024, 1),
        "main_descriptors_at_the_end": samples[-1].descriptors,
        "workers_judged": len(memory),
        "processor_ms_an_update": round(1000 * _rate(last, "seconds"), 2),
        "updates_a_second": round(1 / _rate(last, "wall"), 2),
    }


def problems_of(figures: Mapping[str, Any]) -> list[str]:
    """Which figures lie over their limits, in words; empty for a steady run."""
    return [
        f"{name} is {figures[name]:.2f}, over the limit {limit}"
        for name, limit in LIMITS.items()
        if not figures[name] <= limit
    ]
