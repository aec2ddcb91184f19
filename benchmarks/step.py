#!/usr/bin/env python
"""Pairs a second of a full training step (forward, backward, AdamW), and the share of the machine's peak it reaches.

    ours                   all four losses, every pair as in the paper
    ours_visible           --visible-patches-only: the image encoder reads only what is visible of a masked image
    ours_plain_attention   as ours, softmax(QK^T)V written out in place of PyTorch's fused attention
    flava                  FLAVA's pre-training step, from transformers (pip install 'mvlm-plugin[benchmark]')
    flava_kept_memory      the same, keeping freed memory for the next step, as our training does by itself on a CPU

Every subject runs in a process of its own, in turn, as many rounds as asked for. A large matrix product is timed
before and after every step: "of peak" is the step's counted FLOP/s over that product's. float32 on a CPU, bfloat16 by
autocast on a GPU.

    python benchmarks/step.py --size base --json step.json
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from step_setting import SIZES, Subject
from step_subjects import SUBJECTS
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

BASE = "flava"
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrices of the peak
PEAK_SECONDS = 1.0
COUNTED_PAIRS = 8  # at most; a pair costs the same in any batch
# A line of the result.
Row = dict[str, Any]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """GFLOP/s of a large matrix product, the median of a second's worth."""
    rows = MATRIX[device.type]
    left, right = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
    out = left @ right
    rates = []
    end = time.perf_counter() + PEAK_SECONDS
    while time.perf_counter() < end or len(rates) < 3:
        finish(device)
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        finish(device)
        rates.append(2e-9 * rows**3 / (time.perf_counter() - start))
    return median(rates)


def make_step(subject: Subject, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Forward, backward and update of a subject."""
    parameters = list(subject.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.05, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = subject.loss()
        loss.backward()
        with record_function("part: optimizer"):
            optimizer.step()

    return step


def count_gflop(subject: Subject) -> float:
    """GFLOP a pair, forward and backward. Attention is counted as the matrix products that it consists of."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        subject.loss().backward()
    return counter.get_total_flops() / subject.batch / 1e9


def time_of_parts(step: Callable[[], None]) -> dict[str, float]:
    """Share of a step's time that each part of our model takes, forward and backward.

    An operation of the backward pass carries the number of the forward operation that it belongs to.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    events = profiled.events() or []
    part_of: dict[int, str] = {}
    times: Counter[str] = Counter()
    for event in events:
        if event.sequence_nr >= 0 and not event.name.startswith("autograd::"):
            outer = event
            while outer is not None and not outer.name.startswith("part: "):
                outer = outer.cpu_parent
            if outer is not None:
                part_of.setdefault(event.sequence_nr, outer.name)
    for event in events:
        if event.name.startswith("part: "):
            times[event.name] += event.cpu_time_total
            outer = event.cpu_parent
            if outer is not None and outer.name.startswith("part: "):
                times[outer.name] -= event.cpu_time_total
        elif event.name.startswith("autograd::engine") and event.cpu_parent is None:
            times[part_of.get(event.sequence_nr, "part: other")] += event.cpu_time_total
    total = max(event.time_range.end for event in events) - min(event.time_range.start for event in events)
    times["part: other"] += total - sum(times.values())
    return {name.removeprefix("part: "): used / total for name, used in times.most_common()}


def time_steps(step: Callable[[], None], steps: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Seconds of each step, the peak around each, and the process's peak memory."""
    step()  # makes the optimizer's state
    finish(device)
    seconds, peaks = [], [matmul_peak(device, dtype)]
    for _ in range(steps):
        start = time.perf_counter()
        step()
        finish(device)
        seconds.append(time.perf_counter() - start)
        peaks.append(matmul_peak(device, dtype))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        used = torch.cuda.max_memory_allocated() / 2**20
    around = [(before + after) / 2 for before, after in itertools.pairwise(peaks)]
    return {"seconds": seconds, "peaks": around, "peak_mib": used}


def run_subject(args: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: time a subject's steps, count them, or divide one into parts."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = args.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    counting = args.work == "count"
    batch = min(args.batch, COUNTED_PAIRS) if counting else args.batch
    subject = SUBJECTS[args.subject](args.size, batch, args.tokens, args.vocabulary, device)
    if counting:
        return {"gflop_per_pair": count_gflop(subject)}
    step = make_step(subject, device, DTYPES[name])
    if args.work == "parts":
        from step_ours import mark_parts

        mark_parts(subject.model)
        step()
        return {"parts": time_of_parts(step)}
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    found = time_steps(step, args.steps, device, DTYPES[name])
    return {**found, "device": f"{where}, {name}", "torch": torch.__version__}


def in_process(subject: str, work: str, options: list[str]) -> dict[str, Any]:
    """The result of run_subject() in a new process."""
    command = [sys.executable, __file__, "--subject", subject, "--work", work, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{subject} failed (its message is above); leave it out with --only")
    return json.loads(done.stdout.splitlines()[-1])


def summary(
    names: list[str], rounds: dict[str, list[dict[str, Any]]], gflop: dict[str, float], batch: int
) -> list[Row]:
    """A row a subject: medians over all steps of all rounds."""
    rows: list[Row] = []
    for name in names:
        seconds = [second for found in rounds[name] for second in found["seconds"]]
        peaks = [peak for found in rounds[name] for peak in found["peaks"]]
        work = batch * gflop[name]
        rows.append(
            {
                "name": name,
                "pairs_per_s": batch / median(seconds),
                "gflop_per_pair": gflop[name],
                "peak_fraction": median(work / s / peak for s, peak in zip(seconds, peaks, strict=True)),
                "peak_mib": max(found["peak_mib"] for found in rounds[name]),
            }
        )
    return rows


def print_table(result: dict[str, Any]) -> None:
    """All rows, and where the time of our step goes."""
    rows = result["rows"]
    base = next((row["pairs_per_s"] for row in rows if row["name"] == BASE), None)
    print(f"{result['size']}, batch {result['batch']}, {result['tokens']} tokens; {result['device']}; ", end="")
    print(f"matrix product {result['matmul_gflop_per_s']:.0f} GFLOP/s; torch {result['torch']}")
    print(f"{'':22}{'pairs/s':>10}{'x ' + BASE:>10}{'GFLOP/pair':>12}{'of peak':>9}{'peak MiB':>10}")
    for row in rows:
        ratio = f"{row['pairs_per_s'] / base:10.2f}" if base else f"{'':10}"
        print(f"{row['name']:22}{row['pairs_per_s']:10.3f}{ratio}{row['gflop_per_pair']:12.1f}", end="")
        print(f"{row['peak_fraction']:9.2f}{row['peak_mib']:10.0f}")
    if result["parts"]:
        print("\nwhere the time of our step goes, forward and backward")
        for name, share in result["parts"].items():
            print(f"  {name:20}{100 * share:6.1f} %")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line. --subject and --work are for the processes that this program starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="base", help="default: %(default)s")
    parser.add_argument("--batch", type=int, help="pairs a step (default: 8 at base size, 64 at tiny size)")
    parser.add_argument("--tokens", type=int, help="a caption's, <s> and </s> counted (default: 30, tiny: 16)")
    parser.add_argument("--vocabulary", type=int, help="of all subjects (default: 50265, FLAVA 30522; tiny: 2048)")
    parser.add_argument("--rounds", type=int, default=3, help="processes a subject, in turn (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="timed steps a process (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="default: as many as PyTorch takes")
    parser.add_argument("--dtype", choices=DTYPES, help="default: float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--subject", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", choices=("time", "count", "parts"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.batch = args.batch or SIZES[args.size].batch
    args.tokens = args.tokens or SIZES[args.size].tokens
    return args


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    args = parse(argv)
    if args.subject:
        print(json.dumps(run_subject(args)))
        return 0
    options = [f"--size={args.size}", f"--batch={args.batch}", f"--tokens={args.tokens}", f"--steps={args.steps}"]
    options += [f"--{name}={getattr(args, name)}" for name in ("vocabulary", "threads", "dtype") if getattr(args, name)]
    gflop = {name: in_process(name, "count", options)["gflop_per_pair"] for name in args.only}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
    for _ in range(args.rounds):
        for name in args.only:
            rounds[name].append(in_process(name, "time", options))
    every = [found for name in args.only for found in rounds[name]]
    result = {
        **{name: getattr(args, name) for name in ("size", "batch", "tokens", "vocabulary", "steps")},
        "device": every[0]["device"],
        "torch": every[0]["torch"],
        "matmul_gflop_per_s": median(peak for found in every for peak in found["peaks"]),
        "rows": summary(args.only, rounds, gflop, args.batch),
        "parts": {},
        "all_rounds": rounds,
    }
    if "ours" in args.only and result["device"].startswith("CPU"):
        result["parts"] = in_process("ours", "parts", options)["parts"]
    print_table(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
