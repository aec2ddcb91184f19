"""``report``: the CSV files of a study from its runs, then Markdown, plots and the page from these files alone."""

from pathlib import Path

from mvlm_plugin.evaluate.base import write_whole

from . import plots
from .content import tables_of
from .csv_files import DIFFERENCE_COLUMNS, RUN_COLUMNS, differences_beside, read_csv, write_csv
from .differences import differences_of
from .markdown import markdown
from .page import page
from .plan import Plan
from .settings import StudyError
from .table import rows_of

RESULTS = Path(__file__).parent / "results"


def collect(plan: Plan, folder: Path) -> int:
    """Write NAME.csv and NAME.differences.csv of the runs that are done here or known. Returns how many these are.

    Raises:
        StudyError: none is.
    """
    rows = rows_of(plan)
    if not rows:
        raise StudyError(f"no run of {plan.name} is done in {plan.out}; make some with `run`, or give its --out")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plan.name}.csv"
    write_csv(path, RUN_COLUMNS, rows)
    write_csv(differences_beside(path), DIFFERENCE_COLUMNS, differences_of(plan, rows))
    return len(rows)


def draw(name: str, heading: str, folder: Path) -> list[Path]:
    """Write NAME.md, NAME.html and the plots from the CSV files beside them; returns the files.

    Raises:
        StudyError: the CSV files are missing or of another version, or matplotlib is not installed.
    """
    path = folder / f"{name}.csv"
    rows = read_csv(path, RUN_COLUMNS)
    found = read_csv(differences_beside(path), DIFFERENCE_COLUMNS)
    tables = tables_of(rows, found)
    figures = plots.draw(rows, found, heading)
    drawings = {score: plots.svg_of(figure) for score, figure in figures.items()}
    pictures = plots.save(figures, folder, name)
    texts = {
        folder / f"{name}.md": markdown(heading, tables, pictures),
        folder / f"{name}.html": page(heading, tables, rows, drawings),
    }
    for path, text in texts.items():
        write_whole(str(path), text)
    return [*texts, *(folder / picture for picture in pictures)]
