"""A killed run goes on as if nothing had happened."""

import signal
import subprocess
import time
from pathlib import Path

from tests.cli.commands import ENVIRONMENT, ROOT, logged, run, stood_in, train_command

UPDATES = 14
CHECKPOINT_AT = 5
KILL_AFTER = 6


def _train(data: Path, folder: Path) -> list[str]:
    options = ["--num-workers", 2, "--save-interval-updates", CHECKPOINT_AT, "--disable-validation"]
    return train_command(data, folder, *options, "--seed", 3, updates=UPDATES, batch=48)


def _kill_in_mid_epoch(arguments: list[str], log: Path) -> None:
    """Start training and SIGKILL it once the log shows update KILL_AFTER."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            stood_in(arguments),
            cwd=ROOT,
            env=ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + 300
    while f'"num_updates": "{KILL_AFTER}"' not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_losses_after_a_kill_equal_the_uninterrupted_runs(scenes: Path, tmp_path: Path) -> None:
    whole = logged(run(_train(scenes, tmp_path / "whole")), "train_inner")
    assert len(whole) == UPDATES
    # 360 pairs in batches of 48: update 5 and the kill lie in the first epoch, which ends with a checkpoint at update
    # 8; the last update lies in the second.
    assert float(whole[CHECKPOINT_AT]["update"]) < 1 < float(whole[-1]["update"])
    _kill_in_mid_epoch(_train(scenes, tmp_path / "killed"), tmp_path / "killed.log")
    output = run(_train(scenes, tmp_path / "killed"))
    resumed = logged(output, "train_inner")
    first = int(resumed[0]["num_updates"])
    assert first in {CHECKPOINT_AT + 1, 2 * CHECKPOINT_AT + 1}, output[-3000:]
    unaffected = ("wps", "ups", "train_wall", "wall")
    for before, after in zip(whole[first - 1 :], resumed, strict=True):
        assert {k: v for k, v in before.items() if k not in unaffected} == {
            k: v for k, v in after.items() if k not in unaffected
        }
