"""mvlm-prep in processes of its own, to be killed, and what is left of them."""

import fcntl
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep import prepare
from data_prep.cli import main

_PATIENCE = 60.0


class Run:
    """mvlm-prep in a process group of its own, forked from this process so that it starts at once.

    At the end of a ``with`` statement nothing of it is left.

    Args:
        arguments: of mvlm-prep, --dest among them.
        log: file that its output goes to.
        before: called in the new process first, e.g. to replace a function.
    """

    def __init__(self, arguments: list[str], log: Path, before: Callable[[], None] | None = None) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=_run, args=(arguments, log, before))
        self._process.start()
        self.log = log
        assert self._process.pid is not None
        self.pid = self._process.pid

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.is_alive():
            self.send_to_group(signal.SIGKILL)
            self._process.join()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its workers, as Ctrl-C in a terminal does."""
        wait_for(lambda: os.getpgid(self.pid) == self.pid)
        os.killpg(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; its exit status, -9 where SIGKILL ended it."""
        self._process.join(_PATIENCE)
        assert self._process.exitcode is not None, self.log.read_text()
        return self._process.exitcode

    def wait_until_stopped(self) -> None:
        """Wait until stop_at_parts() has stopped it."""
        wait_for(lambda: ") T" in Path(f"/proc/{self.pid}/stat").read_text())


def kill_at(owner: Any, name: str, call: int, after: bool) -> Callable[[], None]:
    """For Run: make a function of an object kill the whole process group, before or after its call of that number."""
    function = getattr(owner, name)
    calls = 0

    def killing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        result = function(*arguments) if calls != call or after else None
        if calls == call:
            os.killpg(0, signal.SIGKILL)
        return result

    return lambda: setattr(owner, name, killing)


def stop_at_parts() -> None:
    """Make a process stop before it makes parts, until it gets SIGCONT."""
    run_parts = prepare.run_parts

    def stop(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        run_parts(*arguments)

    prepare.run_parts = stop


def _run(arguments: list[str], log: Path, before: Callable[[], None] | None) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
    sys.stdout = sys.stderr = open(log, "a", buffering=1)  # noqa: SIM115 (open to the end)
    if before is not None:
        before()
    raise SystemExit(main(arguments))


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def wait_until_free(dest: Path) -> None:
    """Wait until no worker of a killed run holds the unfinished work of dest any more."""
    wait_for(lambda: not is_locked(dest))


def is_locked(dest: Path) -> bool:
    """Whether a process holds the unfinished work of dest."""
    try:
        with open(work_folder(dest) / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def work_folder(dest: Path) -> Path:
    """Where the unfinished work of dest lies."""
    return dest.with_name(f".{dest.name}.partial")


def finished_parts(dest: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of the folder of every finished part."""
    parts = work_folder(dest) / "parts"
    found = {}
    for path in parts.iterdir() if parts.is_dir() else ():
        if path.name.isdecimal():
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found
