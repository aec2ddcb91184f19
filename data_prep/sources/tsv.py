"""Reader of tab-separated captions: ``image<TAB>caption`` lines, and ``image<TAB>split`` lines for the splits."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mvlm_plugin.data.databin import canonical_split

from ..records import Caption, RejectionLog, SourceImage, is_split_name
from .grouping import ImageGrouper

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _Row(NamedTuple):
    line: int
    image: str
    value: str


def _rows(path: Path, log: RejectionLog) -> Iterator[_Row]:
    """Well-formed lines of a two-column file; blank lines are skipped, others logged."""
    source = str(path)
    with open(path, "rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(_BYTE_ORDER_MARK)
            if not raw.strip():
                continue
            try:
                fields = raw.rstrip(b"\r\n").decode("utf-8").split("\t")
            except UnicodeDecodeError as error:
                log.add("malformed line", f"not UTF-8: {error.reason} at byte {error.start}", source, number)
                continue
            if len(fields) != 2:
                reason = f"expected 2 tab-separated fields, found {len(fields)}"
                log.add("malformed line", reason, source, number, fields[0])
            elif not fields[0].strip():
                log.add("malformed line", "the image name is empty", source, number, fields[0])
            else:
                yield _Row(number, fields[0], fields[1])


def _read_splits(path: Path, log: RejectionLog) -> dict[PurePosixPath, str]:
    splits: dict[PurePosixPath, str] = {}
    for row in _rows(path, log):
        name = row.value.strip()
        if not is_split_name(name):
            reason = f"split name {name!r}: only letters, digits, _ and - may be used"
            log.add("bad split name", reason, str(path), row.line, row.image)
            continue
        split = canonical_split(name)
        known = splits.setdefault(PurePosixPath(row.image), split)
        if known != split:
            reason = f"the image is already in split {known!r}, not {split!r}"
            log.add("conflicting split", reason, str(path), row.line, row.image)
    return splits


def read_tsv(captions: Path, splits: Path | None, subset: str, log: RejectionLog) -> list[SourceImage]:
    """Read captions, and the splits of their images.

    Args:
        captions: file of ``image<TAB>caption`` lines, no header.
        splits: file of ``image<TAB>split`` lines; None puts every image into subset.
        subset: split of every image where there is no splits file.
        log: takes the lines that cannot be used.

    Raises:
        OSError: a file cannot be read.
    """
    split_of = None if splits is None else _read_splits(splits, log)
    grouper = ImageGrouper(log)
    for row in _rows(captions, log):
        split = subset if split_of is None else split_of.get(PurePosixPath(row.image))
        if split is None:
            reason = f"{splits} names no usable split for the image"
            log.add("no split", reason, str(captions), row.line, row.image, row.value)
        else:
            grouper.add(row.image, split, Caption(row.value, str(captions), row.line))
    return grouper.images()
