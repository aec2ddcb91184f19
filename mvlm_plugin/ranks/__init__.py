"""Several processes as one job: forming it, noticing that one is gone, and errors that say which one."""

from .errors import step
from .idle import without_pairs
from .join import RanksConfig, join_ranks
from .launch import follow_launcher

__all__ = ["RanksConfig", "follow_launcher", "join_ranks", "step", "without_pairs"]
