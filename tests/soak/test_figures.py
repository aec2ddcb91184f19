"""The judgement of a soak run: a steady one passes, and every kind of growth is named."""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.soak.figures import LIMITS, Sample, figures_of, problems_of
from tests.soak.usage import children, usage


def steady(number: int) -> Sample:
    """Sample of a run that repeats itself, with 20 samples an epoch."""
    workers = {pid + number // 20: (100_000 + number % 2, 40 + number % 3) for pid in (1000, 2000)}
    return Sample(50 * number, 5.0 * number, 2.0 * number, 300_000 + number % 7, 120 - number % 20, workers)


def leaking(number: int) -> Sample:
    return steady(number)._replace(memory=300_000 + 6 * number)  # 120 KiB in 1,000 updates


def leaking_worker(number: int) -> Sample:
    sample = steady(number)
    return sample._replace(workers=dict.fromkeys(sample.workers, (100000 + 30 * (number % 20), 40)))


def unclosed(number: int) -> Sample:
    return steady(number)._replace(descriptors=120 + number // 20)


def unclosed_in_a_worker(number: int) -> Sample:
    sample = steady(number)
    return sample._replace(workers=dict.fromkeys(sample.workers, (100000, 40 + number % 20)))


def slower(number: int) -> Sample:
    return steady(number)._replace(seconds=2.0 * number + 0.001 * number**2)


CASES: dict[str, Callable[[int], Sample]] = {
    "main_kib_per_1000_updates": leaking,
    "worker_kib_per_1000_updates": leaking_worker,
    "main_descriptors_growth": unclosed,
    "worker_descriptors_growth": unclosed_in_a_worker,
    "processor_time_ratio": slower,
}


def test_every_limit_has_a_case() -> None:
    assert CASES.keys() == LIMITS.keys()


def test_a_steady_run_passes() -> None:
    figures = figures_of([steady(number) for number in range(1, 401)])
    assert problems_of(figures) == []
    assert figures["updates"] == 20_000
    assert figures["processor_time_ratio"] == pytest.approx(1)
    assert figures["processor_ms_an_update"] == 40


@pytest.mark.parametrize("name", CASES)
def test_growth_is_named(name: str) -> None:
    problems = problems_of(figures_of([CASES[name](number) for number in range(1, 401)]))
    assert len(problems) == 1
    assert problems[0].startswith(f"{name} is ")


def test_figures_that_are_no_numbers_are_problems() -> None:
    assert len(problems_of(dict.fromkeys(LIMITS, float("nan")))) == len(LIMITS)


def test_what_others_take_now_and_then_is_no_fault() -> None:
    samples = [steady(number) for number in range(1, 401)]
    busy = 0.0
    for place, sample in enumerate(samples):
        busy += 1.5 if place > 320 and place % 2 else 0.0
        samples[place] = sample._replace(seconds=sample.seconds + busy)
    assert problems_of(figures_of(samples)) == []


@pytest.mark.parametrize("samples", [[], [steady(number) for number in range(19)]])
def test_a_run_that_is_too_short_is_not_judged(samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="too few"):
        figures_of(samples)


def test_a_run_without_workers_is_not_judged() -> None:
    with pytest.raises(ValueError, match="no loader worker"):
        figures_of([steady(number)._replace(workers={}) for number in range(1, 50)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_processes_use_is_seen(tmp_path: Path) -> None:
    databin = tmp_path / "data-bin"
    databin.mkdir()
    (databin / "images").touch()
    (tmp_path / "other").touch()
    before = usage(os.getpid(), databin)
    with open(databin / "images"), open(tmp_path / "other"), open(tmp_path / "other"):
        during = usage(os.getpid(), databin)
    assert before is not None
    assert during is not None
    assert during.descriptors == before.descriptors + 2
    block = mmap.mmap(-1, 20 << 20)  # pages that nothing had before
    block.write(b"x" * (20 << 20))
    after = usage(os.getpid(), databin)
    assert after is not None
    assert after.memory - during.memory > 18 << 10
    block.close()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.pid in children(os.getpid())
    child.communicate(b"\n")
    assert usage(child.pid, databin) is None
