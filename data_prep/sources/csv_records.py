"""Records of CSV files, one at a time."""

import csv
from collections.abc import Iterator
from typing import Any

from ..records import PrepError, RejectionLog
from .records_to_rows import Columns
from .text_lines import MAX_LINE, bounded_lines


class _CsvLines:
    """Gives csv.reader its lines and remembers the number of the last. Bytes that are not UTF-8 become surrogates."""

    def __init__(self, path: str, log: RejectionLog) -> None:
        self._lines = bounded_lines(path, log)
        self.number = 0

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        while line is None:
            self.number, line = next(self._lines)
        return line.decode("utf-8", "surrogateescape") + "\n"


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
    reader = csv.reader(lines, delimiter=delimiter)
    header = _header(path, reader, columns)
    while True:
        line = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not usable CSV: {error}; is a quotation mark never closed?"
            log.add("malformed line", f"{reason} (up to line {lines.number})", path, line)
            continue
        if not cells:
            continue
        problem = _problem(cells, header)
        if problem is None:
            yield line, dict(zip(header, cells, strict=True))
        else:
            log.add("malformed line", problem, path, line, cells[0].encode("utf-8", "replace").decode())
