"""The report as Markdown."""

from collections.abc import Iterable

from .content import Table


def markdown(heading: str, tables: list[Table], plots: list[str]) -> str:
    """A page of tables, after the plots (file names beside it)."""
    parts = [f"# {_cell(heading)}", *(f"![{name}]({name})" for name in plots)]
    for table in tables:
        lines = [_line(table.columns), "|" + " --- |" * len(table.columns), *map(_line, table.rows)]
        parts += [f"## {_cell(table.heading)}", table.note, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
