"""The two CSV files of a study: ``NAME.csv`` with a row a run, ``NAME.differences.csv`` with one a pair of arms."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mvlm_plugin.evaluate.base import write_whole
from mvlm_plugin.evaluation.retrieval import KS

from .settings import StudyError

Row = dict[str, str]

RECALLS = tuple(f"{way}_r{k}" for way in ("i2t", "t2i") for k in KS)
# Columns' prefix -> (stage's figures, score in it).
SCORES = {
    "zs_itc": ("zero_shot", "itc"),
    "zs_itm": ("zero_shot", "itm"),
    "zs_itm_itc": ("zero_shot", "itm_itc"),
    "ft_itc": ("finetuned", "itc"),
    "ft_itm": ("finetuned", "itm"),
    "ft_itm_itc": ("finetuned", "itm_itc"),
    "probe": ("zero_shot", "probe"),
}
GAINS = tuple(f"{name}_{figure}" for name in ("mlm", "mim") for figure in ("loss", "gain", "gain_se"))
RUN_COLUMNS = (
    "id", "losses", "objectives", "fraction", "seed", "variant", "budget", "updates", "pretrain_cpu_seconds",
    "cpu_seconds",
    *(f"{score}_{figure}" for score in SCORES for figure in (*RECALLS, "sum", "sum_se")),
    *GAINS, "command", "data_fingerprint", "code_revision", "torch",
)  # fmt: skip
# What a difference is of, then its figures.
PAIR_COLUMNS = ("losses", "budget", "against", "against_budget", "fraction", "variant", "score", "seeds")
DIFFERENCE_COLUMNS = (*PAIR_COLUMNS, "difference", "se_seeds", "se_queries")


class Known(NamedTuple):
    """Runs that were made elsewhere: their rows by id, and the differences between them."""

    rows: dict[str, Row]
    differences: list[Row]


def differences_beside(path: Path) -> Path:
    """The file of differences that lies beside a table of runs."""
    return path.with_name(f"{path.stem}.differences.csv")


def read_known(path: Path | None) -> Known:
    """A table that ``report`` wrote, with the differences beside it; of None nothing is known.

    Raises:
        StudyError: one of the two files is missing, or of another version.
    """
    if path is None:
        return Known({}, [])
    rows = read_csv(path, RUN_COLUMNS)
    return Known({row["id"]: row for row in rows}, read_csv(differences_beside(path), DIFFERENCE_COLUMNS))


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
    """A CSV file that appears complete or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(str(path), text.getvalue())


def read_csv(path: Path, columns: Iterable[str]) -> list[Row]:
    """Rows of a table.

    Raises:
        StudyError: it is missing, or lacks columns.
    """
    if not path.exists():
        raise StudyError(f"{path} is not there; `python -m examples.study report` writes it where the runs are")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise StudyError(f"{path} lacks the columns {', '.join(sorted(missing))}; it is of another version")
        return list(reader)
