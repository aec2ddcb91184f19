"""Memory, descriptors and processor time of a process and its children, from Linux's /proc."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """memory: KiB of RAM that belong to the process (anonymous and shared memory; not pages of files, which the
    system takes back at will); descriptors: open files, but for those of the data-bin; seconds: of processor time,
    with children that have ended."""

    memory: int
    descriptors: int
    seconds: float


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return sorted(found)


def usage(pid: int, databin: Path) -> Usage | None:
    """What a process uses now; None if it has ended.

    Open files of the data-bin do not count: up to 128 image containers of a split are kept open, and every epoch
    begins with other ones.
    """
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        # After the name, which is in brackets and may hold spaces: fields 3, 4, ...; 14 to 17 are times in ticks.
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
        memory = sum(int(status[name].split()[0]) for name in ("RssAnon", "RssShmem"))
        files = sum(not name.startswith(f"{databin}/") for name in _open_files(folder / "fd"))
        return Usage(memory, files, sum(map(int, times)) / _TICKS)
    except (FileNotFoundError, ProcessLookupError, KeyError):  # KeyError: ended, but not yet waited for
        return None


def _open_files(folder: Path) -> list[str]:
    """Names of what is open; what is closed meanwhile is left out."""
    names = []
    for link in os.listdir(folder):
        with suppress(FileNotFoundError):
            names.append(os.readlink(folder / link))
    return names
