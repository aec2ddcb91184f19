"""Memory of a CPU run: freed blocks are kept for the next step."""

import ctypes
import logging
import os
import sys
from collections.abc import Mapping

logger = logging.getLogger(__name__)

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Let glibc keep what is freed instead of giving it back to the system.

    A training step frees and asks for the same large tensors again and again; getting them from the system costs page
    faults, up to a third of a step on a CPU. The process's memory stays at its peak in turn.

    Args:
        environment: where MALLOC_* variables are set, they are left to decide.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in environment):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
        return False
    logger.info("memory that a step frees is kept for the next one; set MALLOC_TRIM_THRESHOLD_ to decide otherwise")
    return True
