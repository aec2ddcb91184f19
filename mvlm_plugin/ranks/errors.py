"""Errors that say which process failed, at which update, and end the others."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch.distributed as dist

from .watch import PeerWatch

logger = logging.getLogger(__name__)


class RankError(RuntimeError):
    """A step failed in a way that the job cannot recover from; the message names the process."""


class _Place:
    """Where this process is in its job."""

    def __init__(self) -> None:
        self.update = 0
        self.watch: PeerWatch | None = None
        self.reported: Exception | None = None


_place = _Place()


def report_errors(watch: PeerWatch | None) -> None:
    """From now on an exception that ends this process is told in one line too, and to the other processes."""
    _place.watch = watch
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        previous(kind, error, trace)
        if isinstance(error, Exception) and dist.is_initialized() and dist.get_world_size() > 1:
            _report(error)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # a clean end would wait for the processes that wait for this one

    sys.excepthook = hook


@contextmanager
def step(update: int | None = None) -> Iterator[None]:
    """Around a step: an error of it names rank, host and update. One process alone raises it as it is.

    Args:
        update: updates made before the step; None keeps the last one told, as in validation.

    Raises:
        RankError: in place of running out of memory, which fairseq would pass over: the others wait in a collective
            that this process has left.
    """
    if update is not None:
        _place.update = update
    if _place.watch is not None:
        _place.watch.steps += 1
    try:
        yield
    except Exception as error:
        if dist.is_initialized() and dist.get_world_size() > 1:
            _report(error)
            if "out of memory" in str(error):
                raise RankError(
                    f"{_name()} has no memory left at update {_place.update}; lower --batch-size"
                ) from error
        raise


def _name() -> str:
    return f"rank {dist.get_rank()} of {dist.get_world_size()} on {socket.gethostname()}"


def _is_collective(error: Exception) -> bool:
    """Whether it is the other side that failed, as far as this process knows."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _report(error: Exception) -> None:
    """Say once what happened here, and let the others end."""
    if _place.reported is not None and _place.reported in (error, error.__cause__):
        return
    _place.reported = error
    first_line = (str(error).splitlines() or [""])[0][:300]
    logger.error("%s failed at update %d: %s: %s", _name(), _place.update, type(error).__name__, first_line)
    watch = _place.watch
    if watch is None:
        return
    if _is_collective(error):
        watch.await_verdict()
        logger.error("%s: %s", _name(), watch.describe_peers())
    try:
        watch.fail(f"{type(error).__name__}: {first_line} (update {_place.update})")
    except RuntimeError:  # the store is gone, and with it those who could read it
        logger.error("%s: the job's store does not answer", _name())
