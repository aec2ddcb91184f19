"""A long training at the smallest size: memory, open files and speed must be at its end what they were before.

    python tests/soak/steady.py                      (make soak; 20,000 updates)
    python tests/soak/steady.py --updates 2000 --json steady.json

Prints the figures and writes them as JSON; exit status 1 if one lies over its limit (tests/soak/figures.py).
What other programs do changes the wall time, so that it is told and not judged: processor time is, which changes less.
Let nothing else run beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.soak.figures import LIMITS, Sample, figures_of, problems_of  # noqa: E402
from tests.soak.usage import children, usage  # noqa: E402

BIN = Path(sys.executable).parent
WORKERS = 2
BATCH = 8
CHECKPOINTS_EVERY = 2000
SAMPLES = 400


def prepare(folder: Path, pairs: int) -> Path:
    """A data-bin of scenes, made by the real command."""
    arguments = ["scenes", "--dest", folder, "--pairs", pairs, "--image-size", 32, "--seed", 1, "--workers", 1]
    subprocess.run([BIN / "mvlm-prep", *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


def train_command(data: Path, save_dir: Path, updates: int) -> list[str]:
    """The training: every part of the model and every loss, two workers, checkpoints."""
    arguments = [
        data, "--user-dir", ROOT / "tests/soak/micro_model", "--task", "joint_masked_vl", "--arch", "micro",
        "--criterion", "joint_masked_vl", "--optimizer", "adam", "--lr", "1e-4", "--clip-norm", 1,
        "--batch-size", BATCH, "--max-update", updates, "--num-workers", WORKERS, "--disable-validation", "--cpu",
        "--save-dir", save_dir, "--save-interval-updates", CHECKPOINTS_EVERY, "--keep-interval-updates", 1,
        "--no-epoch-checkpoints", "--log-format", "json", "--log-interval", max(1, updates // SAMPLES), "--seed", 1,
    ]  # fmt: skip
    return [str(BIN / "fairseq-train"), *map(str, arguments)]


def watch(process: subprocess.Popen[str], data: Path, log: Path) -> Iterator[Sample]:
    """A sample at every line of the log that counts updates.

    Raises:
        RuntimeError: the training failed.
    """
    assert process.stdout is not None
    start = time.monotonic()
    with open(log, "w", encoding="utf-8") as copy:
        for line in process.stdout:
            copy.write(line)
            found = line.find("| train_inner | {")
            main = usage(process.pid, data)
            if found < 0 or main is None:
                continue
            update = int(json.loads(line[line.index("{", found) :])["num_updates"])
            seen = {pid: usage(pid, data) for pid in children(process.pid)}
            workers = {pid: found for pid, found in seen.items() if found is not None}
            seconds = main.seconds + sum(worker.seconds for worker in workers.values())
            own = {pid: (worker.memory, worker.descriptors) for pid, worker in workers.items()}
            elapsed = time.monotonic() - start
            yield Sample(update, elapsed, seconds, main.memory, main.descriptors, own)
    if process.wait() != 0:
        raise RuntimeError(f"fairseq-train ended with status {process.returncode}; see {log}")


def soak(folder: Path, updates: int, pairs: int) -> Iterator[Sample]:
    """Train in a folder, and tell what is seen."""
    data = prepare(folder / "data-bin", pairs)
    process = subprocess.Popen(
        train_command(data, folder / "checkpoints", updates),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield from watch(process, data.resolve(), folder / "log")
    finally:
        process.kill()
        process.wait()


def main(argv: list[str] | None = None) -> int:
    """Run, print, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--pairs", type=int, default=20_000, help=f"of the data-bin; {BATCH} an update")
    parser.add_argument("--json", default="soak-steady.json", help="file to write")
    parser.add_argument("--folder", type=Path, help="keep data-bin, log and checkpoints there (default: removed)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mvlm-soak-") as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        samples: list[Sample] = []
        for sample in soak(folder, args.updates, args.pairs):
            samples.append(sample)
            # Now and again: a run that is cut off has told something, too.
            Path(args.json).write_text(json.dumps([s._asdict() for s in samples]), encoding="utf-8")
    figures = figures_of(samples)
    problems = problems_of(figures)
    content = {"figures": figures, "limits": LIMITS, "problems": problems, "samples": [s._asdict() for s in samples]}
    Path(args.json).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, value in figures.items():
        print(f"{name:32}{value:12,.2f}" + (f"   (limit {LIMITS[name]:g})" if name in LIMITS else ""))
    print("\n".join(problems) or "steady")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
