"""Signals that announce the end; tests/soak has whole runs that get them."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mvlm_plugin.checkpointing.stopping import SIGNALS, _leave_signals_to_parent


@pytest.fixture
def worker() -> Iterator[int]:
    """A forked process that has done what a loader's worker does at its start, and then waits."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            _leave_signals_to_parent()
            os.write(write, b"ready")
            time.sleep(60)
        finally:
            os._exit(1)
    assert os.read(read, 5) == b"ready"
    os.close(read)
    os.close(write)
    yield pid
    with suppress(ProcessLookupError, ChildProcessError):  # the test has seen its end
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_workers_parent_ends_it_and_nobody_else(worker: int) -> None:
    for number in SIGNALS:  # as Slurm does, which signals all processes of a job
        subprocess.run(["kill", f"-{int(number)}", str(worker)], check=True)
    time.sleep(0.5)
    assert os.waitpid(worker, os.WNOHANG) == (0, 0)
    os.kill(worker, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
