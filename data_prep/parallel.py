"""Ordered map over worker processes, with a bounded number of items in flight."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from .records import PrepError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 16
_CHUNKS_IN_FLIGHT = 4


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar(total: int, description: str, unit: str, scale: bool = False) -> "tqdm[None]":
    """A bar on stderr; where that is no terminal it prints at most every ten seconds."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=description, unit=unit, unit_scale=scale, mininterval=interval, file=sys.stderr)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _start_worker() -> None:
    """The parent handles interrupts; a worker must not outlive a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


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
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    iterator = iter(items)
    in_flight: deque[Future[list[Result]]] = deque()
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            while chunk := list(islice(iterator, _CHUNK)):
                in_flight.append(pool.submit(_run_chunk, function, chunk))
                if len(in_flight) > _CHUNKS_IN_FLIGHT * workers:
                    yield from in_flight.popleft().result()
            while in_flight:
                yield from in_flight.popleft().result()
        except BrokenProcessPool as error:
            raise PrepError("a worker process died, probably out of memory; try fewer --workers") from error
        except BaseException:
            # An interrupt may hit before the pool can look after the workers that it has started.
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise
