"""One run: its stages, each cached, then its result. Runs in a process of its own, on any launcher."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvlm_plugin.environment import environment
from mvlm_plugin.evaluate.base import write_whole

from .commands import FINETUNED, PRETRAINED, Places, finetuning, measuring, pretraining
from .grid import Run
from .settings import LINEAR, ROOT

RESULT, FAILED = "result.json", "failed.json"
_RECORD = "stages.json"
_TAIL_CHARACTERS = 4000
_PACKAGES = ("torch", "ve-fairseq", "numpy", "pillow", "efficientnet-lite-pytorch")


class StageError(RuntimeError):
    """A stage's command failed; the message has its log's tail."""


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether this process is the only one that makes the run; the others get False."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def execute(run: Run, places: Places, data_id: str, updates: int, keep_checkpoints: bool = False) -> bool:
    """Make what is missing of a run. What failed is recorded and may be tried again.

    Args:
        run: the run.
        places: its data-bins, folder and programs.
        data_id: fingerprint of the data.
        updates: of the pre-training; 0 for a linear baseline.
        keep_checkpoints: do not delete them when everything has been measured.

    Returns:
        Whether its result is there now.
    """
    folder = places.folder
    with alone_in(folder) as is_alone:
        if not is_alone:
            print(f"{run.name}: another process makes this run", file=sys.stderr)
            return False
        if (folder / RESULT).exists():
            return True
        try:
            stages = _make(run, places, updates)
        except StageError as error:
            write_whole(str(folder / FAILED), json.dumps({"run": run.name, "error": str(error)}, indent=1) + "\n")
            print(f"{run.name}: {error}", file=sys.stderr)
            return False
        _write_result(run, folder, data_id, updates, stages)
        if not keep_checkpoints:
            for checkpoint in (PRETRAINED, FINETUNED):
                shutil.rmtree(folder / checkpoint.parent, ignore_errors=True)
    return True


def _make(run: Run, places: Places, updates: int) -> dict[str, Any]:
    """Run the stages whose outcome is not there; returns what each has cost, in all attempts."""
    folder = places.folder
    before, after = folder / "zero_shot.json", folder / "finetuned.json"
    stages = _Stages(folder)
    if run.losses == LINEAR:
        stages.make("linear", before, lambda: measuring(run, places, False, before))
        return stages.record
    if not before.exists() or (run.finetune and not after.exists()):
        stages.train("pretrain", pretraining(run, places, updates))
    stages.make("zero_shot", before, lambda: measuring(run, places, False, before))
    if run.finetune and not after.exists():
        stages.train("finetune", finetuning(run, places))
        stages.make("finetuned", after, lambda: measuring(run, places, True, after))
    return stages.record


class _Stages:
    """Runs commands in a folder; their seconds are kept across attempts in ``stages.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / _RECORD
        self.record: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def make(self, name: str, outcome: Path, command: Callable[[], Sequence[str]]) -> None:
        """Run a command whose outcome is one file, unless that is there."""
        if not outcome.exists():
            self._run(name, command())

    def train(self, name: str, command: Sequence[str]) -> None:
        """Run fairseq-train unless it has ended well before; it resumes from its own checkpoint by itself."""
        if not self.record.get(name, {}).get("is_done"):
            self._run(name, command)

    def _run(self, name: str, command: Sequence[str]) -> None:
        entry = self.record.setdefault(name, {"attempts": 0, "cpu_seconds": 0.0, "wall_seconds": 0.0})
        entry["attempts"] += 1
        self._save()
        log = self.folder / f"{name}.log"
        start = time.monotonic()
        with log.open("ab") as output:
            status, cpu_seconds = _run_child(command, output)
        entry["cpu_seconds"] = round(entry["cpu_seconds"] + cpu_seconds, 2)
        entry["wall_seconds"] = round(entry["wall_seconds"] + time.monotonic() - start, 2)
        entry["is_done"] = status == 0
        self._save()
        if status != 0:
            tail = log.read_bytes()[-_TAIL_CHARACTERS:].decode(errors="replace")
            raise StageError(f"{name} ended with status {status}; see {log}. Its end:\n{tail}")

    def _save(self) -> None:
        write_whole(str(self._file), json.dumps(self.record, indent=1) + "\n")


def _run_child(command: Sequence[str], output: Any) -> tuple[int, float]:
    """Exit status, and CPU seconds of the process and of its children that have ended (loader workers).

    SIGTERM and SIGINT are handed on: fairseq-train writes a last checkpoint then.
    """
    variables = {"OMP_NUM_THREADS": "1", **os.environ}
    child = subprocess.Popen(
        command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=variables, start_new_session=True
    )

    def hand_on(number: int, frame: Any) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        stopped.append(number)

    stopped: list[int] = []
    former = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _, status, usage = os.wait4(child.pid, 0)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    child.returncode = os.waitstatus_to_exitcode(status)
    if stopped:
        raise SystemExit(128 + stopped[0])
    return child.returncode, usage.ru_utime + usage.ru_stime


def _write_result(run: Run, folder: Path, data_id: str, updates: int, stages: dict[str, Any]) -> None:
    figures = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("zero_shot", "finetuned")
        if (folder / f"{name}.json").exists()
    }
    made_with = environment(_PACKAGES)
    result = {
        "run": asdict(run), "data": data_id, "updates": updates, "stages": stages, "made_with": made_with, **figures,
    }  # fmt: skip
    write_whole(str(folder / RESULT), json.dumps(result, indent=1) + "\n")
    (folder / FAILED).unlink(missing_ok=True)
