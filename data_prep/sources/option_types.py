"""Values of options that several sources have."""

import argparse

from ..files import expand_paths


def names_list(text: str) -> list[str]:
    """Type of ``NAME,NAME`` options."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r} must be different names with commas between them")
    return names


def positive(text: str) -> int:
    """Type of counts: a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def expanded(patterns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(split, path) of every file that (split, pattern) pairs name, in order.

    Raises:
        PrepError: a pattern names nothing.
    """
    return [(split, path) for split, pattern in patterns for path in expand_paths(pattern)]


def files_by_role(role: str, paths: list[str]) -> dict[str, str]:
    """A source's files as TableSource wants them: ``role``, or ``role 1``, ``role 2`` where there are several."""
    if len(paths) == 1:
        return {role: paths[0]}
    return {f"{role} {number}": path for number, path in enumerate(paths, start=1)}
