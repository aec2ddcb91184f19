"""When one process of a job is killed, stops, hangs or fails, the others end soon and say which one it was."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.commands import ENVIRONMENT, ROOT, stood_in, train_command

RANKS = 2
LIMIT = 60
FAULTS = """
import os
import time

from fairseq.criterions import register_criterion

from mvlm_plugin import register_image_operation
from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig


@register_criterion("fails_in_rank_1", dataclass=JointMaskedVLCriterionConfig)
class Fails(JointMaskedVLCriterion):
    def forward(self, model, sample, reduce=True):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 4 and os.environ["RANK"] == "1":
            raise ValueError("no such thing")
        return super().forward(model, sample, reduce)


@register_image_operation("hang_in_rank_1")
def hang_in_rank_1():
    images = []

    def apply(image, draw):
        images.append(1)
        if len(images) == 70 and os.environ["RANK"] == "1":
            time.sleep(1000)
        return image

    return apply
"""


class _Ranks:
    """The ranks of a training job without a launcher that would end the others itself.

    Those that are to be stopped must not be forked: of a stand-in only itself would stop.
    """

    def __init__(self, data: Path, folder: Path, *options: object, forked: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS), "PYTHONPATH": str(ROOT)}
        arguments = train_command(data, folder / "save", "--disable-validation", *options, updates=1000)
        arguments = stood_in(arguments) if forked else arguments
        self.logs = [folder / f"rank{rank}.log" for rank in range(RANKS)]
        self.processes = []
        for rank, log in enumerate(self.logs):
            with open(log, "w") as file:
                environment = {**ENVIRONMENT, **job, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                self.processes.append(
                    subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
                )

    def __enter__(self) -> "_Ranks":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for_update(self, number: int) -> None:
        """Wait until rank 0 has logged an update."""
        deadline = time.monotonic() + 300
        while f'"num_updates": "{number}"' not in self.logs[0].read_text():
            assert all(process.poll() is None for process in self.processes), self.logs[0].read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def errors_of(self, rank: int, limit: float = LIMIT) -> str:
        """Wait for a rank to end by itself, as a failure, within the limit; what it logged as errors."""
        assert self.processes[rank].wait(timeout=limit) == 1, self.logs[rank].read_text()[-3000:]
        return "\n".join(line for line in self.logs[rank].read_text().splitlines() if "| ERROR |" in line)


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    folder = tmp_path / "my_faults"
    folder.mkdir()
    (folder / "__init__.py").write_text(FAULTS)
    return folder


def test_a_killed_rank(scenes: Path, tmp_path: Path) -> None:
    with _Ranks(scenes, tmp_path) as ranks:
        ranks.wait_for_update(3)
        ranks.processes[1].send_signal(signal.SIGKILL)
        errors = ranks.errors_of(0)
    host = socket.gethostname()
    assert f"rank 0 of 2 on {host} ends: no sign of life from rank 1 on {host} (last seen in step " in errors


def test_a_stopped_rank_that_keeps_the_store(scenes: Path, tmp_path: Path) -> None:
    # No connection closes, and nobody answers: only the missing signs of life tell.
    with _Ranks(scenes, tmp_path, "--peer-timeout", 9, forked=False) as ranks:
        ranks.wait_for_update(3)
        ranks.processes[0].send_signal(signal.SIGSTOP)
        errors = ranks.errors_of(1, limit=30)
    assert f"no sign of life from rank 0 on {socket.gethostname()} (last seen in step " in errors


def test_an_error_of_one_rank(scenes: Path, tmp_path: Path, faults: Path) -> None:
    with _Ranks(scenes, tmp_path, "--user-dir", faults, "--criterion", "fails_in_rank_1") as ranks:
        errors = [ranks.errors_of(rank, limit=300) for rank in range(RANKS)]
    assert f"rank 1 of 2 on {socket.gethostname()} failed at update 3: ValueError: no such thing" in errors[1]
    assert "rank 1 on" in errors[0]
    assert "ValueError: no such thing (update 3)" in errors[0]


def test_a_rank_that_hangs(scenes: Path, tmp_path: Path, faults: Path) -> None:
    # It is alive and writes so; the others give up after the time that a collective may take, and so does it then.
    pipeline = "decode|resize_exact({size})|hang_in_rank_1"
    options = ["--user-dir", faults, "--train-transform", pipeline, "--num-workers", 0]
    with _Ranks(scenes, tmp_path, *options, "--peer-timeout", 9, "--collective-timeout", 8) as ranks:
        errors = [ranks.errors_of(rank, limit=300) for rank in range(RANKS)]
    assert "rank 0 of 2 on" in errors[0]
    assert f"all others are alive; fewest steps begun: 3 by rank 1 ({socket.gethostname()}); here: 4" in errors[0]
    assert "ends: rank 0 on" in errors[1]
