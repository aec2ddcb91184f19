"""Run the project's commands as a user would: as processes, from the checkout."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.cli.preloaded import BIN, ENVIRONMENT, stand_ins

ROOT = Path(__file__).parents[2]
PLUGIN = ["--user-dir", "mvlm_plugin", "--task", "joint_masked_vl"]


def command(program: str, *arguments: object) -> list[str]:
    """Command line of a program of this Python's environment."""
    return [str(BIN / program), *map(str, arguments)]


def train_command(data: Path, save_dir: Path, *options: object, updates: int = 4, batch: int = 16) -> list[str]:
    """fairseq-train on the CPU with few updates and every update in the log."""
    return command(
        "fairseq-train", data, *PLUGIN, "--arch", "mvlm_tiny", "--criterion", "joint_masked_vl",
        "--optimizer", "adam", "--lr", "1e-3", "--batch-size", batch, "--max-update", updates,
        "--save-dir", save_dir, "--cpu", "--log-format", "json", "--log-interval", 1, *options,
    )  # fmt: skip


def validate_command(data: Path, checkpoint: Path, *options: object, batch: int = 64) -> list[str]:
    """fairseq-validate on the CPU, on the test split unless options say otherwise."""
    return command(
        "fairseq-validate", data, *PLUGIN, "--path", checkpoint, "--valid-subset", "test",
        "--batch-size", batch, "--cpu", "--log-format", "json", *options,
    )  # fmt: skip


def run(arguments: list[str], expect: int | None = 0, forked: bool = True, **environment: str) -> str:
    """Run to the end and return what was printed; fails unless the exit status is the expected one.

    A program of this Python's environment is started by its stand-in where it has one, unless ``forked`` is False; so
    are those that a shell finds by ``PATH`` (shell_path()).
    """
    done = subprocess.run(
        stood_in(arguments) if forked else arguments,
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    output = done.stdout + done.stderr
    assert expect is None or done.returncode == expect, output[-4000:]
    return output


def stood_in(arguments: list[str]) -> list[str]:
    """The command with its program's stand-in, where there is one, in place of the program."""
    program = Path(arguments[0])
    stand_in = stand_ins() / program.name
    return [str(stand_in), *arguments[1:]] if program.parent == BIN and stand_in.exists() else arguments


def shell_path() -> str:
    """The environment variable PATH with the stand-ins and this Python's environment before everything else."""
    return os.pathsep.join([str(stand_ins()), str(BIN), os.environ["PATH"]])


def run_two_ranks(arguments: list[str]) -> list[str]:
    """Start the same command as rank 0 and rank 1 of one gloo job; returns what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = ["--distributed-world-size", "2", "--distributed-no-spawn", "--distributed-backend", "gloo"]
    job += ["--ddp-backend", "legacy_ddp", "--distributed-init-method", f"tcp://127.0.0.1:{port}"]
    processes = [
        subprocess.Popen(
            [*stood_in(arguments), *job, "--distributed-rank", str(rank)],
            cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs[0][-3000:] + outputs[1][-3000:]
    return outputs


def logged(output: str, tag: str) -> list[dict[str, Any]]:
    """The JSON objects that fairseq logged under a tag such as train_inner, valid or test; hydra logs otherwise."""
    marker = re.compile(rf"(\| {tag} \||\[{tag}\]\[INFO\] -) \{{")
    return [json.loads(line[line.index("{") :]) for line in output.splitlines() if marker.search(line)]
