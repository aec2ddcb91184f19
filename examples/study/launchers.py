"""Where runs are made: processes of this machine, an array of Slurm jobs, or tasks on a Ray cluster."""

import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .settings import ROOT, StudyError

LAUNCHERS = ("local", "slurm", "ray")


def _bar(count: int) -> "tqdm[None]":
    """A bar over runs with the time that is left; where stderr is no terminal it prints now and then."""
    interval = 0.5 if sys.stderr.isatty() else 60.0
    return tqdm(total=count, unit="run", mininterval=interval, maxinterval=interval, smoothing=0.1, file=sys.stderr)


def run_locally(commands: Sequence[Sequence[str]], jobs: int) -> int:
    """Run commands as processes, in their order, so many at a time. Returns how many failed.

    On SIGINT or SIGTERM no further ones are started, those that run are ended, and KeyboardInterrupt is raised.
    """
    processes: set[subprocess.Popen[bytes]] = set()
    ended = threading.Event()

    def make(command: Sequence[str]) -> int:
        if ended.is_set():
            return 0
        # A session of its own: a Ctrl-C reaches it through this process alone, once.
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        processes.add(process)
        if ended.is_set():
            process.terminate()
        return process.wait()

    def stop(number: int, frame: Any) -> None:
        ended.set()
        for process in list(processes):
            process.terminate()
        raise KeyboardInterrupt

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ThreadPoolExecutor(jobs) as pool, _bar(len(commands)) as bar:
            return _count_failures(commands, jobs, bar, lambda command: pool.submit(make, command))
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _count_failures(
    commands: Sequence[Sequence[str]],
    jobs: int,
    bar: "tqdm[None]",
    submit: Callable[[Sequence[str]], "Future[int]"],
    status: Callable[["Future[int]"], int] = Future.result,
) -> int:
    """Keep so many commands running; how many ended with a status other than 0."""
    failures = 0
    waiting: Iterator[Sequence[str]] = iter(commands)
    running = {submit(command) for command in islice(waiting, jobs)}
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        failures += sum(status(future) != 0 for future in done)
        bar.set_postfix(failed=failures, refresh=False)
        bar.update(len(done))
        running |= {submit(command) for command in islice(waiting, len(done))}
    return failures


def run_on_ray(commands: Sequence[Sequence[str]], jobs: int, resources: dict[str, float]) -> int:
    """Run commands as tasks of a Ray cluster whose machines share the folders. Returns how many failed.

    Args:
        commands: in their order.
        jobs: most tasks at a time.
        resources: of a task, for ray.remote: num_cpus, num_gpus.

    Raises:
        StudyError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise StudyError("--launcher ray needs Ray: pip install 'mvlm-plugin[ray]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    folder = str(ROOT)

    def make(command: Sequence[str]) -> int:
        import subprocess

        return subprocess.run(command, cwd=folder).returncode

    try:
        task: Any = ray.remote(**resources)(make)
        with _bar(len(commands)) as bar:
            return _count_failures(
                commands, jobs, bar, lambda command: task.remote(list(command)).future(), partial(_status, ray)
            )
    finally:
        if started:
            ray.shutdown()


def _status(ray: Any, task: "Future[int]") -> int:
    """Exit status of a task; a task that Ray lost has failed, and the others go on."""
    try:
        return task.result()
    except ray.exceptions.RayError as error:
        print(f"Ray lost a run: {error}", file=sys.stderr)
        return 1


def submit_to_slurm(phases: Sequence[Sequence[Sequence[str]]], folder: Path, jobs: int, options: str) -> list[str]:
    """Write a script of a job array for each phase, and submit it; a phase waits for the one before.

    Args:
        phases: commands; the runs of one phase do not depend on one another.
        folder: for scripts and logs.
        jobs: most jobs of an array at a time.
        options: further options of sbatch, as one string.

    Returns:
        The numbers of the arrays.

    Raises:
        StudyError: sbatch is not there (the scripts are written), or refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scripts = []
    for number, commands in enumerate(phases):
        script = folder / f"array{number}.sbatch"
        script.write_text(slurm_script(commands, folder, jobs))
        scripts.append(script)
    if shutil.which("sbatch") is None:
        listed = " ".join(map(str, scripts))
        raise StudyError(f"sbatch is not on this machine; submit these from one that has it, in order: {listed}")
    submitted: list[str] = []
    for script in scripts:
        after = [f"--dependency=afterany:{submitted[-1]}"] if submitted else []
        line = ["sbatch", "--parsable", *after, *shlex.split(options), str(script)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
        if done.returncode != 0:
            raise StudyError(f"sbatch refused {script}: {done.stderr.strip()}")
        submitted.append(done.stdout.strip().partition(";")[0])
    return submitted


def slurm_script(commands: Sequence[Sequence[str]], folder: Path, jobs: int) -> str:
    """An sbatch script of an array with a job for each command."""
    lines = [
        "#!/usr/bin/env bash",
        "#SBATCH --job-name=mvlm-study",
        f"#SBATCH --array=0-{len(commands) - 1}%{jobs}",
        "#SBATCH --signal=TERM@120",  # fairseq-train writes a last checkpoint, and the next submission goes on
        f"#SBATCH --output={shlex.quote(str(folder / '%A_%a.log'))}",
        "set -euo pipefail",
        f"cd {shlex.quote(str(ROOT))}",
        "commands=(",
        *(f"    {shlex.quote(shlex.join(command))}" for command in commands),
        ")",
        'eval "exec ${commands[$SLURM_ARRAY_TASK_ID]}"',
    ]
    return "\n".join(lines) + "\n"
