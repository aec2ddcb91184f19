"""Work spread over processes of this machine: an ordered map for items, and a pool for units of work."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from tqdm import tqdm

from .records import PrepError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16
_IN_FLIGHT = 4
_BAR_SECONDS = 0.5
_WORKER_DIED = (
    "a worker process died, probably out of memory; try fewer --workers. "
    "The same command goes on with what is not done yet"
)
# What the units of work of a worker process have done; shared with the process that shows the progress.
_done: Any = None


class WorkerDied(PrepError):
    """A worker process died; what is done so far can be used again."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(total: int | None, description: str, unit: str, scale: bool = False) -> "tqdm[None]":
    """A bar on stderr; where that is no terminal it prints at most every ten seconds."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=description, unit=unit, unit_scale=scale, mininterval=interval, file=sys.stderr)


def count_done() -> None:
    """Called by a unit of work for each of its items, so that the progress bar moves."""
    if _done is not None:
        with _done.get_lock():
            _done.value += 1


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _start_worker(done: Any = None) -> None:
    """The parent handles interrupts; a worker must not outlive a parent that was killed."""
    global _done
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _context() -> Any:
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _kill_workers(others: set[Any]) -> None:
    """An interrupt may hit before the pool can look after the workers that it has started."""
    for worker in set(multiprocessing.active_children()) - others:
        worker.kill()


def _run_chunk(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Results of function for every item, in order, computed by worker processes.

    Args:
        function: can be pickled; called in a worker process, or in this one for a single worker.
        items: consumed only as fast as results are taken.
        workers: number of processes.

    Raises:
        PrepError: a worker process died.
    """
    if workers == 1:
        yield from map(function, items)
        return
    iterator = iter(items)
    in_flight: deque[Future[list[Result]]] = deque()
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker) as pool:
        try:
            while chunk := list(islice(iterator, _CHUNK)):
                in_flight.append(pool.submit(_run_chunk, function, chunk))
                if len(in_flight) > _IN_FLIGHT * workers:
                    yield from in_flight.popleft().result()
            while in_flight:
                yield from in_flight.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerDied(_WORKER_DIED) from error
        except BaseException:
            _kill_workers(others)
            raise


def run_units(function: Callable[[int], Any], units: Iterable[int], workers: int, bar: "tqdm[None]") -> None:
    """Call function for every unit of work, in worker processes, in any order.

    Args:
        function: can be pickled; reports its items with count_done().
        units: numbers of the units, consumed only as fast as they are done.
        workers: number of processes.
        bar: moved by the items that are done.

    Raises:
        PrepError: a worker process died. What function raises is raised here.
    """
    done = _context().Value("q", 0)
    iterator = iter(units)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=_context(), initializer=_start_worker, initargs=(done,)) as pool:
        try:
            running = {pool.submit(function, unit) for unit in islice(iterator, 2 * workers)}
            while running:
                finished, running = wait(running, timeout=_BAR_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    future.result()
                running |= {pool.submit(function, unit) for unit in islice(iterator, len(finished))}
                bar.update(done.value - bar.n)
        except BrokenProcessPool as error:
            raise WorkerDied(_WORKER_DIED) from error
        except BaseException:
            _kill_workers(others)
            raise
