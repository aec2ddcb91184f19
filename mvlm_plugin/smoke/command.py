"""The command mvlm-smoke: start the processes, or be one of those that torchrun or srun started."""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import MutableMapping, Sequence

import torch

from .job import run_rank

_PATIENCE = 10.0  # seconds for the others to say what they saw
_DESCRIPTION = """Check what training on several processes relies on, before a long run: that they find one another,
gather with the right gradients, hold equal weights, write checkpoints that read back equal, and see each pair once."""
_EPILOG = """examples:
  mvlm-smoke                                             two processes on this machine
  mvlm-smoke --processes 8 --save-dir checkpoints --data data-bin/mine
  torchrun --nproc-per-node 2 -m mvlm_plugin.smoke --save-dir checkpoints
  srun --ntasks-per-node 8 mvlm-smoke --save-dir /shared/checkpoints --data /shared/data-bin/mine

Give the --save-dir and the --data of the run, and start it as the run will be started. Each GPU gets a process;
without enough of them the check runs on the CPU. The exit status is 1 if anything
failed; the last lines say in which process."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "mvlm-smoke", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--processes", type=int, default=max(2, torch.cuda.device_count()), metavar="N",
        help="processes to start; inside torchrun or srun theirs are used (default: a GPU each, at least %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--save-dir", default=".", metavar="DIR",
        help="where the run will save; a temporary folder is made in it, on the file system that all processes share",
    )  # fmt: skip
    parser.add_argument("--data", metavar="D", help="prepared data-bin to read; default: a few generated scenes")
    parser.add_argument("--batch-size", type=int, default=4, metavar="B", help="pairs a process (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=int, default=60, metavar="S",
        help="seconds that one check may wait for another process (default: %(default)s)",
    )  # fmt: skip
    return parser


def follow_slurm(environment: MutableMapping[str, str]) -> None:
    """Give a task of srun the variables that torchrun would give it; does nothing elsewhere.

    Raises:
        FileNotFoundError: Slurm's ``scontrol`` is not on the PATH.
    """
    if "RANK" in environment or int(environment.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return
    hosts = subprocess.check_output(["scontrol", "show", "hostnames", environment["SLURM_STEP_NODELIST"]], text=True)
    environment.update(
        RANK=environment["SLURM_PROCID"],
        LOCAL_RANK=environment["SLURM_LOCALID"],
        LOCAL_WORLD_SIZE=environment["SLURM_STEP_TASKS_PER_NODE"].split("(")[0],  # as in 8(x2)
        WORLD_SIZE=environment["SLURM_STEP_NUM_TASKS"],
        MASTER_ADDR=hosts.split()[0],
        MASTER_PORT=environment.get("MASTER_PORT", "29500"),
    )


def start_processes(count: int, arguments: Sequence[str]) -> int:
    """Run this command as ``count`` processes of one job; returns the exit status."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    # Processes share the cores, as torchrun's do.
    common.setdefault("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "mvlm_plugin.smoke", *arguments]
    processes = [
        subprocess.Popen(command, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)
    ]
    try:
        return _wait_for(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait_for(processes: list["subprocess.Popen[bytes]"]) -> int:
    """Wait for all to end; not for long once one has failed. Returns the exit status."""
    patience = _PATIENCE
    while patience > 0 and any(process.poll() is None for process in processes):
        time.sleep(0.1)
        failed = [(rank, process.returncode) for rank, process in enumerate(processes) if process.returncode]
        if failed:
            patience -= 0.1
        for rank, status in failed:
            if status < 0:
                print(f"FAILED  rank {rank} was killed by signal {-status}", flush=True)
                return 1
    return int(any(process.returncode != 0 for process in processes))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status: 1 if a check failed in any process."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    follow_slurm(os.environ)
    if "RANK" not in os.environ:
        return start_processes(args.processes, arguments)
    return run_rank(args)
