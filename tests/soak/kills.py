"""Kill a training run again and again, and see that it ends with the weights of a run that was left alone.

python -m tests.soak.kills --kills 20 --ranks 2 --task vl_vqa
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from mvlm_plugin.checkpointing.reading import find_damage
from tests.helpers import write_databin
from tests.labelled_databin import texts, write_labelled
from tests.soak.processes import KillWhileWriting, Run, same

TASKS = ("joint_masked_vl", "vl_retrieval", "vl_vqa", "vl_nlvr2", "vl_entailment")
KINDS = ("step", "validation", "writing", "signal")
INTERVAL = 3  # updates between checkpoints
ENDED = 128 + signal.SIGTERM  # exit status of a run that SIGTERM ended


def make_data(task: str, folder: Path) -> Path:
    """A data-bin of one-colour pictures for a task: about 100 texts to train on."""
    if task in ("joint_masked_vl", "vl_retrieval"):
        return write_databin(folder, images=50)
    labels = ["entailment", "neutral", "contradiction"] if task == "vl_entailment" else ["true", "false"]
    rows = [
        text._replace(fields={"answer" if task == "vl_vqa" else "label": labels[number % len(labels)]})
        for number, text in enumerate(texts(101, images=2 if task == "vl_nlvr2" else 1))
    ]
    return write_labelled(folder, {"train": rows, "valid": rows[:25]})


def train_arguments(task: str, data: Path, save_dir: Path, updates: int, ranks: int, workers: int) -> list[str]:
    """fairseq-train with all that a resumed run could forget: accumulation, dropout, warm-up, an average of weights."""
    criterion = task if task in ("joint_masked_vl", "vl_retrieval") else "vl_classification"
    options = {
        "--user-dir": "mvlm_plugin", "--task": task, "--arch": "mvlm_tiny", "--criterion": criterion,
        "--optimizer": "adamw_parts", "--lr": "1e-3", "--image-encoder-lr": "5e-4", "--weight-ema": 0.9,
        "--lr-scheduler": "cosine", "--warmup-updates": 5, "--clip-norm": 1, "--dropout": 0.1,
        "--image-size": 32, "--batch-size": 8 // ranks, "--update-freq": 2, "--num-workers": workers,
        "--max-update": updates, "--save-interval-updates": INTERVAL, "--keep-interval-updates": 3,
        "--keep-last-epochs": 2, "--save-dir": save_dir, "--log-format": "json", "--log-interval": 1, "--seed": 3,
    }  # fmt: skip
    if ranks > 1:
        options["--peer-timeout"] = 18
    return [str(data), *(str(part) for option in options.items() for part in option), "--cpu"]


class Soak:
    """One run that is killed, and its companion that is not.

    Args:
        args: the command line's.
        folder: where both work.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.random = random.Random(args.seed)
        self.data = make_data(args.task, folder / "data-bin")
        self.killed = folder / "killed"
        self.run: Run | None = None

    def start(self, save_dir: Path, prepare: KillWhileWriting | None = None) -> Run:
        """Start the same command as ever."""
        args = self.args
        arguments = train_arguments(args.task, self.data, save_dir, args.updates, args.ranks, args.workers)
        self.run = Run(arguments, args.ranks, save_dir.with_suffix(".log"), prepare)
        return self.run

    def finish(self, save_dir: Path) -> dict:
        """Let a run come to its end; the content of its last checkpoint."""
        run = self.start(save_dir)
        assert run.wait() == [0] * self.args.ranks, run.text()[-3000:]
        return torch.load(save_dir / "checkpoint_last.pt", weights_only=True)

    def all(self, kinds: list[str]) -> tuple[dict, dict]:
        """What the run that was killed ends with, and the one that was not."""
        args = self.args
        expected = self.finish(self.folder / "whole")
        print(f"{args.task}, {args.ranks} ranks: {args.updates} updates left alone", flush=True)
        for number in range(args.kills):
            kind = kinds[number] if number < len(kinds) else self.random.choice(kinds)
            print(f"kill {number + 1}: {self.kill(kind)}", flush=True)
        return self.finish(self.killed), expected

    def kill(self, kind: str) -> str:
        """Start, kill at a random moment, and check what is left; a line that says what happened."""
        began = time.monotonic()
        before = self.saved()
        if kind == "writing":
            size = max((path.stat().st_size for path in self.killed.glob("*.pt")), default=1 << 20)
            hook = KillWhileWriting(self.random.randrange(3), self.random.choice([self.random.random(), 1.0]), size)
            run = self.start(self.killed, hook)
            run.wait_until(lambda: False)  # it kills itself
            what = str(hook)
            run.send(signal.SIGKILL, self.some_ranks())
        else:
            run = self.start(self.killed)
            what = self.strike(run, kind, before)
        statuses = run.wait()
        expected = ENDED if kind == "signal" else -signal.SIGKILL
        done = statuses == [0] * self.args.ranks  # it came to its end before
        assert done or expected in statuses, f"{what}: exit status {statuses}\n{run.text()[-3000:]}"
        if kind == "signal" and not done:
            assert set(statuses) == {ENDED}, f"{what}: exit status {statuses}\n{run.text()[-3000:]}"
            assert self.saved() >= run.updates(), f"{what}: update {run.updates()} was lost"
        self.check_files(what)
        outcome = "had ended before" if done else f"at update {run.updates() or before}"
        return f"{what}: {outcome}; saved: {before} -> {self.saved()} ({time.monotonic() - began:.0f} s)"

    def strike(self, run: Run, kind: str, before: int) -> str:
        """Wait for a random moment of a kind and send the signal; what was done."""
        goal = min(before + self.random.randint(1, INTERVAL + 1), self.args.updates)
        run.wait_until(lambda: run.updates() >= goal)
        if kind == "validation":
            count = run.text().count("begin validation")
            run.wait_until(lambda: run.text().count("begin validation") > count)
        time.sleep(self.random.random() * 0.5)
        ranks = self.some_ranks()
        run.send(signal.SIGTERM if kind == "signal" else signal.SIGKILL, ranks)
        name = "SIGTERM" if kind == "signal" else f"SIGKILL in {kind}"
        return f"{name} to rank {' and '.join(map(str, ranks))}" if self.args.ranks > 1 else name

    def some_ranks(self) -> list[int]:
        """All of them, or one, as often."""
        ranks = list(range(self.args.ranks))
        return self.random.choice([ranks, [self.random.choice(ranks)]])

    def saved(self) -> int:
        """Updates of the last checkpoint; 0 where there is none."""
        path = self.killed / "checkpoint_last.pt"
        if not path.exists():
            return 0
        return torch.load(path, weights_only=True)["optimizer_history"][-1]["num_updates"]

    def check_files(self, what: str) -> None:
        """Every file that bears a checkpoint's name is whole."""
        for path in sorted(self.killed.glob("*.pt")):
            assert not find_damage(str(path)), f"after {what}: {path.name}: {find_damage(str(path))}"
            torch.load(path, weights_only=True)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if the run that was killed ended as the other, bit for bit, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how often the run is ended by force")
    parser.add_argument("--ranks", type=int, default=1, choices=[1, 2], help="processes of the run")
    parser.add_argument("--task", default=TASKS[0], choices=TASKS)
    parser.add_argument("--kinds", default=",".join(KINDS), help="moments to choose from; the first ones come in order")
    parser.add_argument("--updates", type=int, default=0, help="length of the run; default: 2 a kill")
    parser.add_argument("--workers", type=int, default=1, help="loader workers of a process")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    args = parser.parse_args(argv)
    args.updates = args.updates or 2 * args.kills
    kinds = args.kinds.split(",")
    if set(kinds) - set(KINDS):
        parser.error(f"--kinds: choose from {','.join(KINDS)}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(args, Path(folder))
        began = time.monotonic()
        try:
            found, expected = soak.all(kinds)
        finally:
            if soak.run:
                soak.run.send(signal.SIGKILL, list(range(args.ranks)))
    parts = [name for name in ("model", "last_optimizer_state") if not same(found[name], expected[name])]
    if not same(found["optimizer_history"][-1], expected["optimizer_history"][-1]):  # the others: each restart
        parts.append("number of updates or learning rate")
    verdict = f"DIFFERENT: {', '.join(parts)}" if parts else "weights and optimizer are the same, bit for bit"
    print(f"{args.kills} kills, {time.monotonic() - began:.0f} s: {verdict}")
    return 1 if parts else 0


if __name__ == "__main__":
    sys.exit(main())
