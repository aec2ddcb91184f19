"""One process of mvlm-smoke: joins the others, runs the checks in turn, and tells how each went."""

import argparse
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from .checks import CHECKS, Job, prepare


class Outcome(NamedTuple):
    """Of one check in one process; an empty error means that it passed."""

    host: str
    detail: str
    error: str


def _meet(timeout: timedelta) -> tuple[dist.Store, int, int]:
    """The job's store, this process's rank, and the number of processes."""
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=rank == 0 and not agent, timeout=timeout
    )
    return dist.PrefixStore("mvlm-smoke", store), rank, count


def _device(count_here: int) -> torch.device:
    """A GPU of its own, or the CPU for all where there are not enough."""
    local = int(os.environ["LOCAL_RANK"])
    if torch.cuda.device_count() < count_here:
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _shared_folder(args: argparse.Namespace, store: dist.Store, rank: int) -> tuple[Path, Path]:
    """The temporary folder that rank 0 makes for all, and the data-bin; rank 0 generates one if none is given."""
    if rank == 0:
        Path(args.save_dir).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="mvlm-smoke-", dir=args.save_dir)).resolve()
        if args.data is None:
            prepare_scenes = [sys.executable, "-m", "data_prep.command", "scenes", "--pairs", "160", "--dest"]
            subprocess.run([*prepare_scenes, str(folder / "data-bin")], check=True, capture_output=True)
        store.set("folder", str(folder))
    folder = Path(store.get("folder").decode())
    return folder, Path(args.data) if args.data else folder / "data-bin"


def _attempt(check: Callable[[Job], str], job: Job) -> Outcome:
    """Run a check; whatever goes wrong in it is the check's result."""
    try:
        return Outcome(socket.gethostname(), check(job), "")
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        return Outcome(socket.gethostname(), "", f"{type(error).__name__}: {first_line[:300]}")


def _exchange(store: dist.Store, name: str, rank: int, count: int, mine: Outcome) -> list[Outcome]:
    """Outcomes of all processes, in rank order, by way of the store: collectives may be what is broken."""
    store.set(f"{name}/{rank}", "\t".join(mine))
    outcomes = []
    for other in range(count):
        try:
            host, detail, error = store.get(f"{name}/{other}").decode().split("\t", 2)
            outcomes.append(Outcome(host, detail, error))
        except RuntimeError:
            outcomes.append(Outcome("?", "", "gave no answer in time: killed, stopped, or stuck"))
    return outcomes


def run_rank(args: argparse.Namespace) -> int:
    """Join the job, run all checks until one fails anywhere, print the table on rank 0; returns the exit status."""
    logging.disable(logging.INFO)  # fairseq tells a lot about data loaders
    timeout = timedelta(seconds=args.timeout)
    store, rank, count = _meet(timeout)
    store.set_timeout(2 * timeout)  # a process that waits in vain for another one still has to say so
    device = _device(int(os.environ.get("LOCAL_WORLD_SIZE", count)))
    folder, data = _shared_folder(args, store, rank)
    job = Job(rank, count, device, folder, data, args.batch_size)
    if rank == 0:
        where = f"save-dir {Path(args.save_dir).resolve()}, data {args.data or 'generated'}"
        print(f"{count} processes, {device.type}, {where}")
    failed = False
    for name, check in {"start": _start(job, store, timeout), **CHECKS}.items():
        began = time.perf_counter()
        outcomes = _exchange(store, name, rank, count, _attempt(check, job))
        bad = {r: outcome for r, outcome in enumerate(outcomes) if outcome.error}
        if rank == 0:
            seconds = time.perf_counter() - began
            print(f"{'FAILED' if bad else 'ok':6}  {name:32} {seconds:5.1f} s  {outcomes[0].detail}", flush=True)
            for r, outcome in bad.items():
                print(f"        rank {r} on {outcome.host}: {outcome.error}", flush=True)
        if bad:
            failed = True
            break
    _leave(store, job, failed)
    return int(failed)


def _start(job: Job, store: dist.Store, timeout: timedelta) -> Callable[[Job], str]:
    """The first check: compute alone what is compared later, then join the process group."""

    def start(_: Job) -> str:
        prepare(job)
        backend = "nccl" if job.device.type == "cuda" else "gloo"
        group_store = dist.PrefixStore("group", store)
        dist.init_process_group(backend, store=group_store, rank=job.rank, world_size=job.count, timeout=timeout)
        dist.barrier()
        return f"{backend}, {job.count} processes joined"

    return start


def _leave(store: dist.Store, job: Job, failed: bool) -> None:
    """Rank 0 cleans up and keeps the store until all others have gone."""
    store.set(f"left/{job.rank}", "")
    if job.rank == 0:
        with suppress(RuntimeError):  # one that is stuck does not leave
            store.wait([f"left/{rank}" for rank in range(job.count)])
        shutil.rmtree(job.folder, ignore_errors=True)
    if failed:
        sys.stdout.flush()
        os._exit(1)  # a broken process group may not close
    dist.destroy_process_group()
