"""Which split an image belongs to: one for all (--subset), or a table (--splits)."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

from mvlm_plugin.data.databin import canonical_split, is_split_name

from ..disk_table import DiskTable
from ..records import RejectionLog
from .base import checked_split
from .text_lines import image_rows


def usable_split(name: str) -> tuple[str | None, str]:
    """A split as it is stored, or None and the reason why it cannot be one."""
    if is_split_name(name):
        return canonical_split(name), ""
    return None, f"split name {name[:80]!r}: only letters, digits, _ and - may be used, up to 64"


def add_subset_option(parser: argparse._ActionsContainer) -> None:
    """Add --subset."""
    parser.add_argument("--subset", metavar="NAME", help="the split that all images go into (default: train)")


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Add --splits and --subset, of which one may be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--splits", metavar="FILE",
        help="lines 'image<TAB>split', named as with the captions; val, dev and validation are stored as valid "
        "(default: all in one split)",
    )  # fmt: skip
    add_subset_option(group)


def subset_of(args: argparse.Namespace) -> str:
    """The split that --subset names, as it is stored.

    Raises:
        PrepError: the name cannot be part of a file name.
    """
    return checked_split(args.subset or "train", "--subset")


def _fill(table: DiskTable, path: str, log: RejectionLog) -> None:
    for line, (image, name) in image_rows(path, 2, log):
        split, problem = usable_split(name.strip())
        if split is None:
            log.add("bad split name", problem, path, line, image)
            continue
        known = table.setdefault(str(PurePosixPath(image)), split)
        if known != split:
            reason = f"the image is already in split {known!r}, not {split!r}"
            log.add("conflicting split", reason, path, line, image)


@contextmanager
def split_lookup(
    splits: str | None, subset: str, log: RejectionLog, scratch: Path
) -> Iterator[Callable[[str], str | None]]:
    """Gives the function from an image's name to its split, None where it has none; the table is on disk.

    Args:
        splits: file of ``image<TAB>split`` lines; None puts every image into subset.
        subset: split of every image where there is no splits file.
        log: takes the lines that cannot be used.
        scratch: folder for the table.
    """
    if splits is None:
        yield lambda image: subset
        return
    with closing(DiskTable(scratch / "splits.sqlite")) as table:
        _fill(table, splits, log)
        yield lambda image: table.get(str(PurePosixPath(image)))
