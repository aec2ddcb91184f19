"""Several processes as one job: forming it, noticing that one is gone, and errors that say which one."""

from .agreement import StopAgreement
from .errors import step
from .idle import keep_training_batch, without_pairs
from .join import RanksConfig, join_ranks
from .launch import follow_launcher
from .watch import connect_store

__all__ = [
    "RanksConfig",
    "StopAgreement",
    "connect_store",
    "follow_launcher",
    "join_ranks",
    "keep_training_batch",
    "step",
    "without_pairs",
]
