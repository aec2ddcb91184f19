"""Training runs as forked processes: imports are made once, everything else as by the command fairseq-train."""

import os
import re
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import fairseq_cli.train
import torch

import mvlm_plugin  # noqa: F401  (registers all before the processes are forked)

LIMIT = 900.0  # seconds for anything to happen; far more than it takes on a busy machine
_UPDATE = re.compile(r'train_inner.*"num_updates": "(\d+)"')  # the form of the log depends on what set it up


class Run:
    """The processes of one fairseq-train, from its start to its end.

    Args:
        arguments: of fairseq-train.
        ranks: number of processes; they form one gloo job.
        log: text file to which each process appends; rank r > 0 has ``LOG.r``.
        prepare: called in each process with its rank, before it trains.
    """

    def __init__(self, arguments: list[str], ranks: int, log: Path, prepare: Callable[[int], None] | None = None):
        self.log = log
        log.touch()
        self._begin = log.stat().st_size
        port = _free_port()
        self.pids = [self._fork(arguments, rank, ranks, port, prepare) for rank in range(ranks)]
        self.statuses: dict[int, int] = {}

    def _fork(
        self, arguments: list[str], rank: int, ranks: int, port: int, prepare: Callable[[int], None] | None
    ) -> int:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            log = os.open(f"{self.log}.{rank}" if rank else self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if ranks > 1:
                job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": ranks, "RANK": rank}
                os.environ.update({name: str(value) for name, value in {**job, "LOCAL_RANK": rank}.items()})
            if prepare:
                prepare(rank)
            sys.argv = ["fairseq-train", *arguments]
            fairseq_cli.train.cli_main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException as error:
            traceback.print_exc()
            if isinstance(error, Exception):
                sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stdout.flush()
            os._exit(status)

    def text(self) -> str:
        """What rank 0 has logged in this run."""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            file.seek(self._begin)
            return file.read()

    def updates(self) -> int:
        """The last update in the log, 0 before the first."""
        found = _UPDATE.findall(self.text())
        return int(found[-1]) if found else 0

    def wait_until(self, happened: Callable[[], bool]) -> bool:
        """Wait for something, or for the end of rank 0; whether it happened before that."""
        deadline = time.monotonic() + LIMIT
        while not happened():
            if self._ended(0):
                return False
            assert time.monotonic() < deadline, self.text()[-3000:]
            time.sleep(0.02)
        return True

    def send(self, number: int, ranks: list[int]) -> None:
        """Send a signal to some of the processes that are still there."""
        for rank in ranks:
            if not self._ended(rank):
                os.kill(self.pids[rank], number)

    def wait(self) -> list[int]:
        """Wait for all processes to end by themselves; exit status by rank, -9 for a killed one."""
        deadline = time.monotonic() + LIMIT
        while not all(self._ended(rank) for rank in range(len(self.pids))):
            assert time.monotonic() < deadline, self.text()[-3000:]
            time.sleep(0.02)
        return [self.statuses[rank] for rank in range(len(self.pids))]

    def _ended(self, rank: int) -> bool:
        if rank not in self.statuses:
            pid, status = os.waitpid(self.pids[rank], os.WNOHANG)
            if pid:
                self.statuses[rank] = os.waitstatus_to_exitcode(status)
        return rank in self.statuses


class KillWhileWriting:
    """Given to a Run as ``prepare``: its rank 0 kills itself in the middle of writing a checkpoint file.

    Args:
        file: the how many-th file of the run, from 0.
        share: of the bytes that are written before; 1 = all of them, and the file has its name.
        size: bytes of a checkpoint file.
    """

    def __init__(self, file: int, share: float, size: int) -> None:
        self.file, self.share, self.size = file, share, size

    def __call__(self, rank: int) -> None:
        if rank:
            return
        from mvlm_plugin.checkpointing import writing

        whole = writing._flush_folder
        files = -1

        def open_and_count(path: str, mode: str) -> object:
            nonlocal files
            file = open(path, mode)  # noqa: SIM115  (the caller closes it)
            if mode == "wb":
                files += 1
                if files == self.file and self.share < 1:
                    return _DeadlyFile(file, int(self.share * self.size))
            return file

        def after_renaming(folder: str) -> None:
            if files == self.file and self.share >= 1:
                os.kill(os.getpid(), signal.SIGKILL)
            whole(folder)

        writing.open = open_and_count
        writing._flush_folder = after_renaming

    def __str__(self) -> str:
        return f"writing file {self.file + 1} of the run, at {self.share:.0%}"


class _DeadlyFile:
    """A file whose process is killed once so many bytes are written."""

    def __init__(self, file: object, limit: int) -> None:
        self._file, self._left = file, limit

    def write(self, data: bytes) -> int:
        data = memoryview(data).cast("B")
        if len(data) > self._left:
            self._file.write(data[: self._left])
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= len(data)
        return self._file.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> "_DeadlyFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def same(one: object, other: object) -> bool:
    """Whether two checkpoints' contents are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other
