"""Notice within a minute that another process of the job was killed, has stopped or has failed.

A collective waits for all processes: with NCCL, or on a stopped process, the others would wait for many minutes and
then tell where they waited, not for whom. So every process has a thread that writes a sign of life into the job's store
and reads those of the others. It needs no GPU and no collective, and lives while the step runs.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist

logger = logging.getLogger(__name__)

_BEATS = 9  # signs of life within the timeout
_HURRIED_BEATS = 3  # missing ones that are proof enough once a collective has failed


class Peer(NamedTuple):
    """What a process last wrote: how often, where it runs, training steps begun, and its error if it failed."""

    beats: int
    host: str
    steps: int
    error: str


class PeerWatch:
    """Signs of life of this process, and a look at the others'; ends this process when another is gone.

    Args:
        store: the job's key-value store, reachable by a connection of its own.
        rank, world_size: this process, and how many there are.
        timeout: seconds without a sign of life after which another process counts as gone.
    """

    def __init__(self, store: dist.Store, rank: int, world_size: int, timeout: float) -> None:
        self.rank, self.world_size, self.timeout = rank, world_size, timeout
        self.host = socket.gethostname()
        self.steps = 0
        self.period = timeout / _BEATS
        self._store = store
        self._beats = 0
        self._error = ""
        self._peers: dict[int, Peer] = {}
        self._missed = dict.fromkeys((r for r in range(world_size) if r != rank), 0)
        self._hurry = threading.Event()
        self._answers = 0
        self._write()
        # Two threads: a call to the store does not return while the process that keeps it is stopped.
        for work in (self._talk, self._judge):
            threading.Thread(target=work, name=f"peer-watch{work.__name__}", daemon=True).start()

    def fail(self, error: str) -> None:
        """Tell the others that this process failed, so that they end too. Rank 0 gives them time to read it."""
        self._error = error
        self._write()
        if self.rank == 0:
            time.sleep(2 * self.period)  # the store may end with this process

    def await_verdict(self) -> None:
        """After a failed collective: wait until the thread ends this process because another is gone, or return."""
        self._hurry.set()
        time.sleep((_HURRIED_BEATS + 2) * self.period)

    def describe_peers(self) -> str:
        """The other processes that have begun the fewest steps, for an error message."""
        if not self._peers:
            return "no other process has written anything"
        fewest = min(peer.steps for peer in self._peers.values())
        behind = ", ".join(f"rank {r} ({p.host})" for r, p in sorted(self._peers.items()) if p.steps == fewest)
        return f"all others are alive; fewest steps begun: {fewest} by {behind}; here: {self.steps}"

    def _write(self) -> None:
        self._beats += 1
        self._store.set(str(self.rank), json.dumps([self._beats, self.host, self.steps, self._error]))

    def _read(self) -> None:
        """Read all others and count what they missed. Raises RuntimeError where the store does not answer."""
        keys = list(self._missed)
        present = [rank for rank in keys if rank in self._peers or self._store.check([str(rank)])]
        for rank, value in zip(present, self._store.multi_get([str(rank) for rank in present]), strict=True):
            peer = Peer(*json.loads(value))
            if peer != self._peers.get(rank):
                self._missed[rank] = 0
            self._peers[rank] = peer

    def _talk(self) -> None:
        while dist.is_initialized():
            try:
                self._write()
                self._read()
                self._answers += 1
            except RuntimeError:
                pass  # no answer; _judge() counts them
            time.sleep(self.period)

    def _judge(self) -> None:
        """Counts rounds, not seconds: a pause of this process is nobody's death."""
        answers = unanswered = 0
        while dist.is_initialized():
            time.sleep(self.period)
            unanswered = unanswered + 1 if self._answers == answers else 0
            answers = self._answers
            for rank in self._missed:
                self._missed[rank] += 1
            reason = self._reason(unanswered)
            if reason:
                self._end(reason)

    def _reason(self, unanswered: int) -> str:
        """Why this process must end, or nothing."""
        for rank, peer in sorted(self._peers.items()):
            if peer.error:
                return f"rank {rank} on {peer.host} failed: {peer.error}"
        limit = _HURRIED_BEATS if self._hurry.is_set() else _BEATS
        gone = [rank for rank, missed in self._missed.items() if missed > limit]
        if not gone and unanswered <= limit:
            return ""
        if unanswered:  # signs of life of all others are missing then; who went first is gone
            longest = max(self._missed.values())
            gone = [rank for rank in gone if self._missed[rank] == longest > unanswered]
        missing = [self._describe(rank) for rank in gone]
        if unanswered:
            missing.append("the process that keeps the job's store (rank 0, or torchrun's agent)")
        seconds = limit * self.period
        return (
            f"no sign of life from {' and '.join(missing)} for {seconds:.0f} s: killed, stopped, or its machine is lost"
        )

    def _describe(self, rank: int) -> str:
        peer = self._peers.get(rank)
        return f"rank {rank} on {peer.host} (last seen in step {peer.steps})" if peer else f"rank {rank} (never seen)"

    def _end(self, reason: str) -> None:
        logger.error("rank %d of %d on %s ends: %s", self.rank, self.world_size, self.host, reason)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # the main thread waits in a collective, where no exception reaches it


def start_watch(timeout: float) -> PeerWatch | None:
    """Watch the processes of the default group; None where they share no network store (``file://``)."""
    store = connect_store("mvlm-peers", timeout)
    if store is None:
        logger.warning("no watch over other processes: they share no network store")
        return None
    return PeerWatch(store, dist.get_rank(), dist.get_world_size(), timeout)


def connect_store(purpose: str, timeout: float) -> dist.Store | None:
    """A connection of its own to the store of the default group; None where that is no network store.

    The main thread may block on the group's connection for as long as another process takes.

    Args:
        purpose: keeps the keys apart from those of others; a restart of the job has keys of its own.
        timeout: seconds to wait for an answer.
    """
    store = dist.distributed_c10d._get_default_store()
    while isinstance(store, dist.PrefixStore):
        store = store.underlying_store
    if not isinstance(store, dist.TCPStore):
        return None
    own = dist.TCPStore(
        store.host, store.port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout)
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"{purpose}-{attempt}", own)
