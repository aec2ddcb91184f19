"""The report as one HTML file that needs nothing beside it."""

from collections.abc import Iterable
from html import escape

from .content import SCORE_TITLES, Table
from .csv_files import Row

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.6rem; text-align: right; vertical-align: top; }
th { background: #f3f3f3; } .text { text-align: left; }
code { font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; } summary { cursor: pointer; }
svg { max-width: 100%; height: auto; }
"""
_RUN_COLUMNS = ("losses", "fraction", "seed", "variant", "budget", "updates")


def page(heading: str, tables: list[Table], rows: list[Row], drawings: dict[str, str]) -> str:
    """HTML with the plots, the tables, and each run with its command and fingerprint.

    Args:
        heading: of the page.
        tables: from tables_of().
        rows: of the runs.
        drawings: score -> SVG document.
    """
    parts = [
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(heading)}</title>", f"<style>{_STYLE}</style>", "</head>", "<body>",
        f"<h1>{escape(heading)}</h1>",
    ]  # fmt: skip
    parts += [f"<figure>{_inline(drawing, score)}</figure>" for score, drawing in drawings.items()]
    for table in tables:
        parts += [f"<h2>{escape(table.heading)}</h2>", f"<p>{escape(table.note)}</p>"]
        parts += [_table(table.columns, [[escape(cell) for cell in row] for row in table.rows])]
    parts += ["<h2>Runs</h2>", "<p>Each with the command of its training, and the fingerprint of data and code.</p>"]
    scores = [score for score in SCORE_TITLES if any(row[f"{score}_sum"] for row in rows)]
    columns = [*_RUN_COLUMNS, *(SCORE_TITLES[score] for score in scores), "command and fingerprint"]
    parts += [_table(columns, [_run_cells(row, scores) for row in rows]), "</body>", "</html>"]
    return "\n".join(parts) + "\n"


def _inline(drawing: str, score: str) -> str:
    """An SVG document inside of a page: without its prologue, its ids apart from those of the others."""
    label = escape(f"{SCORE_TITLES[score]}: recall sums against the share of the images")
    body = f'<svg role="img" aria-label="{label}"' + drawing[drawing.index("<svg") + len("<svg") :]
    ids = ((' id="', f' id="{score}_'), ('"#', f'"#{score}_'), ("url(#", f"url(#{score}_"))
    for old, new in ids:
        body = body.replace(old, new)
    return body


def _run_cells(row: Row, scores: list[str]) -> list[str]:
    sums = [escape(f"{float(row[f'{score}_sum']):.1f}" if row[f"{score}_sum"] else "") for score in scores]
    entries = [("command", row["command"]), ("data", row["data_fingerprint"]), ("code", row["code_revision"])]
    lines = "".join(f"<p>{name}: <code>{escape(value)}</code></p>" for name, value in entries)
    details = f"<details><summary>{escape(row['id'])}</summary>{lines}</details>"
    return [*(escape(row[column]) for column in _RUN_COLUMNS), *sums, details]


def _table(columns: Iterable[str], rows: list[list[str]]) -> str:
    """Rows are HTML already."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td{_kind(cell)}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _kind(cell: str) -> str:
    return "" if cell[:1] in "+-0123456789" else ' class="text"'
