"""``report``: the CSV files of a study from its runs, then Markdown, plots and the page from these files alone."""

from pathlib import Path
from typing import NamedTuple

from mvlm_plugin.evaluate.base import write_whole

from . import differences, plots, table
from .content import tables_of
from .markdown import markdown
from .page import page
from .plan import Plan
from .settings import StudyError

RESULTS = Path(__file__).parent / "results"


class Known(NamedTuple):
    """Runs that were made elsewhere: their rows by id, and the differences between them."""

    rows: dict[str, table.Row]
    differences: list[table.Row]


def read_known(path: Path | None) -> Known:
    """A table that ``report`` wrote, with the differences beside it; of None nothing is known.

    Raises:
        StudyError: one of the two files is missing, or of another version.
    """
    if path is None:
        return Known({}, [])
    beside = path.with_name(f"{path.stem}.differences.csv")
    rows = table.read_csv(path, table.COLUMNS)
    return Known({row["id"]: row for row in rows}, table.read_csv(beside, differences.COLUMNS))


def collect(plan: Plan, folder: Path, known: Known) -> int:
    """Write NAME.csv and NAME.differences.csv of the runs that are done here or known. Returns how many these are.

    Raises:
        StudyError: none is.
    """
    rows = table.rows_of(plan, known.rows)
    if not rows:
        raise StudyError(f"no run of {plan.name} is done in {plan.out}; make some with `run`, or give its --out")
    folder.mkdir(parents=True, exist_ok=True)
    table.write_csv(folder / f"{plan.name}.csv", table.COLUMNS, rows)
    found = differences.differences_of(plan, rows, known.differences)
    table.write_csv(folder / f"{plan.name}.differences.csv", differences.COLUMNS, found)
    return len(rows)


def draw(name: str, heading: str, folder: Path) -> list[Path]:
    """Write NAME.md, NAME.html and the plots from the CSV files beside them; returns the files.

    Raises:
        StudyError: the CSV files are missing or of another version, or matplotlib is not installed.
    """
    rows = table.read_csv(folder / f"{name}.csv", table.COLUMNS)
    found = table.read_csv(folder / f"{name}.differences.csv", differences.COLUMNS)
    tables = tables_of(rows, found)
    figures = plots.draw(rows, heading)
    drawings = {score: plots.svg_of(figure) for score, figure in figures.items()}
    pictures = plots.save(figures, folder, name)
    texts = {
        folder / f"{name}.md": markdown(heading, tables, pictures),
        folder / f"{name}.html": page(heading, tables, rows, drawings),
    }
    for path, text in texts.items():
        write_whole(str(path), text)
    return [*texts, *(folder / picture for picture in pictures)]
