"""Runs mvlm-prep where it must not do harm, and looks at what it did."""

import io
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from multiprocessing import active_children
from pathlib import Path
from typing import NamedTuple

from hostile_images import encoded, picture

import data_prep
from data_prep.cli import main

SECONDS = 60
MAX_MEMORY = 1_500_000_000
CANARY_TEXT = "zero four zero four"
_CANARY_NUMBER = 54_321


class Result(NamedTuple):
    """What a run of mvlm-prep gave; memory: most bytes that one of its processes held."""

    status: int
    error: str
    seconds: float
    memory: int


class Place:
    """Folders of one run: ``raw`` for the source, ``outside`` with canaries, ``out`` for the data-bin, ``work``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.raw, self.outside, self.out, self.work = (root / name for name in ("raw", "outside", "out", "work"))
        for folder in (self.outside, self.out, self.work):
            folder.mkdir(parents=True)
        self.canary = encoded(picture(_CANARY_NUMBER), "PNG")
        (self.outside / "canary.png").write_bytes(self.canary)
        (self.outside / "canary.txt").write_text(CANARY_TEXT)
        self.databin = self.out / "bin"
        self._before: dict[str, tuple[object, ...]] = {}

    def remember(self) -> None:
        """Take down what lies where nothing may be written."""
        self._before = self._everything()

    def check(self, finished: bool) -> None:
        """Nothing was written but the data-bin, and nothing at all if it was not finished."""
        assert self._everything() == self._before
        assert os.listdir(self.out) == (["bin"] if finished else [])

    def _everything(self) -> dict[str, tuple[object, ...]]:
        found: dict[str, tuple[object, ...]] = {}
        pending = [os.fsencode(self.root)]
        while pending:
            for entry in os.scandir(pending.pop()):
                status = entry.stat(follow_symlinks=False)
                target = os.readlink(entry.path) if entry.is_symlink() else b""
                if os.fsdecode(entry.path) == str(self.out):
                    continue
                times = () if entry.is_dir(follow_symlinks=False) else (status.st_size, status.st_mtime_ns)
                found[os.fsdecode(entry.path)] = (status.st_mode, *times, target)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
        return found


Runner = Callable[[Sequence[str], Place], Result]


def run_here(arguments: Sequence[str], place: Place) -> Result:
    """Call main() in this process."""
    start, error = time.monotonic(), io.StringIO()
    previous = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with redirect_stderr(error), redirect_stdout(io.StringIO()), chdir(place.work):
            status = main(arguments)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    assert active_children() == []
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return Result(status, error.getvalue(), time.monotonic() - start, memory)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(f"mvlm-prep took more than {SECONDS} seconds")


def run_forked(arguments: Sequence[str], place: Place) -> Result:
    """Call main() in a copy of this process: it may be killed, and the libraries need not be loaded again."""
    log = place.root.with_name(f"{place.root.name}.stderr")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _become(arguments, place, log)
    return _finished(child, start, log)


def _become(arguments: Sequence[str], place: Place, log: Path) -> None:
    status = 70
    try:
        os.setsid()
        os.chdir(place.work)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        sys.stdout = sys.stderr = os.fdopen(2, "w")
        status = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run_process(arguments: Sequence[str], place: Place) -> Result:
    """Run the real command."""
    log = place.root.with_name(f"{place.root.name}.stderr")
    start = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(Path(data_prep.__file__).parents[1])}
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "data_prep.command", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file,
            cwd=place.work, env=environment, start_new_session=True,
        )  # fmt: skip
        result = _finished(process.pid, start, log)
        process.returncode = result.status
    return result


def _finished(child: int, start: float, log: Path) -> Result:
    """Wait for a process that leads a session; none of its session may be left afterwards."""
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - start > SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.wait4(child, 0)
            raise AssertionError(f"mvlm-prep took more than {SECONDS} seconds: {log.read_text()[-2000:]}")
        time.sleep(0.005)
    seconds = time.monotonic() - start
    deadline = time.monotonic() + 5
    while left := _of_session(child):
        assert time.monotonic() < deadline, f"processes are left: {left}"
        time.sleep(0.01)
    text = log.read_text(encoding="utf-8", errors="replace")
    return Result(os.waitstatus_to_exitcode(status), text, seconds, usage.ru_maxrss * 1024)


def _of_session(session: int) -> list[int]:
    """Processes of a session."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(name))
    return found


def check_result(result: Result) -> None:
    """No crash, in bounded memory; an error is one line that says what to do."""
    assert result.status in (0, 2), result.error[-3000:]
    assert "Traceback" not in result.error, result.error[-3000:]
    errors = [line for line in result.error.splitlines() if line.startswith("mvlm-prep: error: ")]
    assert len(errors) == (1 if result.status == 2 else 0), result.error[-3000:]
    if result.status == 2:
        assert result.error.endswith(f"{errors[0]}\n")
        assert len(errors[0]) < 2000
    assert result.memory < MAX_MEMORY, f"{result.memory / 1e9:.2f} GB"
