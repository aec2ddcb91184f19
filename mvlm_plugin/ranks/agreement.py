"""The update after which all processes of a job stop, although only one of them may have been asked to.

The gradients of an update are summed over all processes, so that none ends the update u + 1 before all have begun it. A
process that is asked to stop writes "u + 1" into the job's store after its update u, before it joins that sum; the
others look there after each update and cannot miss it. It needs no collective and does not wait for the device.
"""

import torch.distributed as dist

_KEY = "last-update"


class StopAgreement:
    """Agrees with the other processes on the last update.

    Args:
        store: the job's key-value store; None for a process alone.
    """

    def __init__(self, store: dist.Store | None) -> None:
        self._store = store

    def is_last(self, update: int, asked: bool) -> bool:
        """Whether to stop now. Every process calls this after each update.

        Args:
            update: updates made; the same for all processes that have made the same steps.
            asked: whether this process wants to stop.

        Raises:
            RuntimeError: the store does not answer, as the process that keeps it is gone.
        """
        if self._store is None:
            return asked
        if asked:
            # The first that asks decides; the answer says that the store has it.
            return update >= int(self._store.compare_set(_KEY, "", str(update + 1)))
        return self._store.check([_KEY]) and update >= int(self._store.get(_KEY))
