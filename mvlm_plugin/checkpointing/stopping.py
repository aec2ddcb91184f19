"""A signal that announces the end makes a training run write a checkpoint and end.

SIGTERM comes from Slurm, Kubernetes and torchrun before they kill; SIGUSR1 is what Slurm's --signal often sends.
"""

import logging
import os
import signal
import sys
import threading
from copy import deepcopy
from types import FrameType
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from fairseq import checkpoint_utils

from ..distributed import world_size
from ..ranks import StopAgreement, connect_store

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_STORE_TIMEOUT = 60.0


class _ValidationCutOff(Exception):
    """A signal came during validation."""


class _Stop:
    """What this process was told, and the agreement of all processes on when to stop."""

    def __init__(self, agreement: StopAgreement) -> None:
        self.agreement = agreement
        self.signal = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; nothing else is safe in the middle of anything."""
        self.signal = self.signal or number

    def is_told_anywhere(self, device: torch.device) -> bool:
        """Whether any process was told to stop; all of them call this together."""
        if world_size() == 1:
            return self.signal != 0
        told = torch.tensor(float(self.signal), device=device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return told.item() != 0


def follow_signals(loop: Any, trainer: Any) -> None:
    """From now on SIGTERM and SIGUSR1 end the training after the update under way, with a checkpoint.

    Does nothing in a thread, which receives no signals.

    Args:
        loop: fairseq's module with the training loop.
        trainer: fairseq's.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    store = None
    if world_size() > 1:
        store = connect_store("mvlm-stop", _STORE_TIMEOUT)
        if store is None:
            logger.warning("SIGTERM ends this run without a checkpoint: its processes share no network store")
            return
    stop = _Stop(StopAgreement(store))
    _watch_loop(loop, trainer, stop)
    for number in SIGNALS:
        signal.signal(number, stop.handle)
    os.register_at_fork(after_in_child=_leave_signals_to_parent)


def _watch_loop(loop: Any, trainer: Any, stop: _Stop) -> None:
    """Look for a signal after each update and before each batch of a validation."""
    validate_and_save, valid_step = loop.validate_and_save, trainer.valid_step

    def valid_step_unless_told(*args: Any, **kwargs: Any) -> Any:
        if stop.is_told_anywhere(trainer.device):
            raise _ValidationCutOff
        return valid_step(*args, **kwargs)

    def validate_and_save_or_stop(cfg: Any, trainer: Any, task: Any, epoch_itr: Any, *rest: Any) -> Any:
        try:
            if not stop.agreement.is_last(trainer.get_num_updates(), stop.signal != 0):
                return validate_and_save(cfg, trainer, task, epoch_itr, *rest)
        except _ValidationCutOff:
            pass
        _save_and_end(cfg.checkpoint, trainer, epoch_itr, stop.signal)

    trainer.valid_step = valid_step_unless_told
    loop.validate_and_save = validate_and_save_or_stop


def _save_and_end(options: Any, trainer: Any, epoch_itr: Any, number: int) -> NoReturn:
    """Write a checkpoint without validation and end, as soon as all processes are here, with the signal's exit status.

    The status is not 0: the training is not complete, and what comes after it must not begin.
    """
    name = signal.Signals(number).name if number else "a signal to another process"
    update = trainer.get_num_updates()
    logger.warning("%s: writing a checkpoint after update %d, then ending", name, update)
    options = deepcopy(options)
    if options.no_last_checkpoints:
        options.save_interval_updates, options.save_interval, options.no_epoch_checkpoints = update, 1, False
    checkpoint_utils.save_checkpoint(options, trainer, epoch_itr, None)
    if world_size() > 1:
        dist.barrier()  # no launcher may see one process end and kill another that writes
    advice = "--no-save is set: nothing was saved" if options.no_save else "start the same command again to go on"
    logger.warning("ended by %s after update %d; %s", name, update, advice)
    sys.exit(128 + (number or signal.SIGTERM))


def _leave_signals_to_parent() -> None:
    """In a forked process, such as a loader's worker: only its parent ends it.

    Slurm signals all processes of a job. Without its workers the training could not end the update under way.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        while True:
            received = signal.sigwaitinfo(SIGNALS)
            if received.si_pid == os.getppid() and received.si_signo == signal.SIGTERM:
                os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()
