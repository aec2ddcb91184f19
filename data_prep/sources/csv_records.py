"""Records of CSV files, one at a time."""

import csv
from collections import deque
from collections.abc import Iterator
from typing import Any

from ..records import PrepError, RejectionLog
from .records_to_rows import Columns
from .text_lines import MAX_LINE, bounded_lines

# More are a quotation mark that is never closed.
_MAX_RECORD_LINES = 1000


class _CsvLines:
    """Gives csv.reader its lines, and those of a record again where they are no record.

    Bytes that are not UTF-8 become surrogates.
    """

    def __init__(self, path: str, log: RejectionLog) -> None:
        self._lines = bounded_lines(path, log)
        self._record: list[tuple[int, str]] = []
        self._again: deque[tuple[int, str]] = deque()

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        if len(self._record) == _MAX_RECORD_LINES:
            raise csv.Error(f"a record of more than {_MAX_RECORD_LINES:,} lines")
        if not self._again:
            number, line = next(self._lines)
            while line is None:
                number, line = next(self._lines)
            self._again.append((number, line.decode("utf-8", "surrogateescape") + "\n"))
        self._record.append(self._again.popleft())
        return self._record[-1][1]

    def begin(self) -> None:
        """The next line is the first of a record."""
        self._record.clear()

    @property
    def first(self) -> int:
        """Number of the record's first line."""
        return self._record[0][0]

    def first_alone(self, delimiter: str) -> list[str] | None:
        """Cells of the record's first line by itself, None where a quotation mark stays open; the others come again."""
        self._again.extendleft(reversed(self._record[1:]))
        lines = iter([self._record[0][1], ""])
        try:
            cells = next(csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return None
        return cells if next(lines, None) is not None else None


def _header(path: str, reader: Iterator[list[str]], columns: Columns) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise PrepError(f"{path} is not usable CSV ({error}); check --delimiter") from error
    for name in columns.all():
        if header.count(name) != 1:
            problem = "two columns" if name in header else "no column"
            found = ", ".join(header)[:300].encode("utf-8", "replace").decode()
            raise PrepError(f"{path} has {problem} {name!r} in its header line; it has: {found or 'none'}")
    return header


def _problem(cells: list[str], header: list[str]) -> str | None:
    if len(cells) != len(header):
        return f"expected {len(header)} fields as in the header, found {len(cells)}"
    if any(not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell) for cell in cells):
        return "not UTF-8"
    return None


def csv_records(delimiter: str, columns: Columns, path: str, log: RejectionLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the first line and cells by column of each record; empty lines are skipped, others logged.

    Raises:
        PrepError: the header line lacks a column, or the file cannot be opened.
        OSError: the file cannot be read.
    """
    lines = _CsvLines(path, log)
    csv.field_size_limit(MAX_LINE)
    # Strict, so that a quotation mark that is never closed is noticed at the next one, and not only at the end.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(path, reader, columns)
    while True:
        lines.begin()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            cells = lines.first_alone(delimiter)
            if cells is None:
                reason = f"not usable CSV: {error}; is a quotation mark never closed?"
                log.add("malformed line", reason, path, lines.first)
                continue
        if cells is None:
            return
        if not cells:
            continue
        problem = _problem(cells, header)
        if problem is None:
            yield lines.first, dict(zip(header, cells, strict=True))
        else:
            log.add("malformed line", problem, path, lines.first, cells[0].encode("utf-8", "replace").decode())
