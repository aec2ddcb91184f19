"""Files that name pairs of data-bins, one JSON object a line, so that ``mvlm-prep show --ids`` finds them again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .databin import DataBinError


class PairList(NamedTuple):
    """Pairs of one split.

    folder: the data-bin, as the run was given it; split: its stored name; pairs: numbers of captions in the split.
    """

    folder: str
    split: str
    pairs: list[int]


def append_pairs(path: Path, lists: Sequence[PairList], **notes: Any) -> None:
    """Add a line for each list, with notes about it; the folder of the file is made where it is missing.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"databin": known.folder, "split": known.split, "pairs": known.pairs, **notes} for known in lists]
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(f"{json.dumps(line)}\n" for line in lines))


def read_pairs(path: Path) -> list[PairList]:
    """The lists of a file, in order; notes are left out.

    Raises:
        DataBinError: the file cannot be read, or is none that append_pairs() wrote.
    """
    lists = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                lists.append(_parse(text, f"line {number} of {path}"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataBinError(f"{path} cannot be read: {error}") from error
    return lists


def _parse(text: str, where: str) -> PairList:
    try:
        line = json.loads(text)
        known = PairList(line["databin"], line["split"], line["pairs"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataBinError(f"{where} names no pairs: it must have databin, split and pairs ({error!r})") from error
    is_list = isinstance(known.pairs, list) and all(type(pair) is int for pair in known.pairs)
    if not (isinstance(known.folder, str) and isinstance(known.split, str) and is_list):
        raise DataBinError(f"{where} names no pairs: databin and split must be texts, and pairs whole numbers")
    return known
