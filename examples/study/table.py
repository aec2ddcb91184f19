"""The table of a study: a row a run, as CSV. Recalls and their sums are in per cent."""

import csv
import io
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mvlm_plugin.evaluate.base import write_whole
from mvlm_plugin.evaluation.retrieval import KS

from .commands import measuring, pretraining
from .grid import Run
from .plan import Plan
from .settings import LINEAR, OBJECTIVES, StudyError

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
COLUMNS = (
    "id", "losses", "objectives", "fraction", "seed", "variant", "budget", "updates", "pretrain_cpu_seconds",
    "cpu_seconds",
    *(f"{score}_{figure}" for score in SCORES for figure in (*RECALLS, "sum", "sum_se")),
    *GAINS, "command", "data_fingerprint", "code_revision", "torch",
)  # fmt: skip


def row_of(plan: Plan, run: Run, result: Mapping[str, Any]) -> Row:
    """A run's row; what was not measured is empty."""
    places = plan.shown_places(run)
    stages = result["stages"]
    first = stages.get("pretrain", stages.get("linear"))
    # A process that was killed took its seconds with it: of an interrupted run no cost is known.
    is_whole = all(stage["attempts"] == 1 for stage in stages.values())
    if run.losses == LINEAR:
        command = measuring(run, places, False, places.folder / "zero_shot.json")
    else:
        command = pretraining(run, places, result["updates"])
    row: dict[str, Any] = {
        "id": plan.id(run),
        "losses": run.losses,
        "objectives": "+".join(name for name in OBJECTIVES if run.weights.get(name)) or "linear ITC",
        "fraction": run.fraction,
        "seed": run.seed,
        "variant": run.variant,
        "budget": run.budget,
        "updates": result["updates"],
        "pretrain_cpu_seconds": first["cpu_seconds"] if first["attempts"] == 1 else "",
        "cpu_seconds": round(sum(stage["cpu_seconds"] for stage in stages.values()), 2) if is_whole else "",
        "command": shlex.join(command),
        "data_fingerprint": result["data"],
        "code_revision": result["made_with"]["revision"],
        "torch": result["made_with"]["packages"].get("torch", ""),
    }
    for score, (stage, block) in SCORES.items():
        figures = result.get(stage, {}).get(block, {})
        row |= {f"{score}_{name}": round(100 * value, 4) for name, value in figures.items()}
    gains = result.get("zero_shot", {}).get("gains", {})
    row |= {name: f"{value:.6g}" for name, value in gains.items() if name in GAINS}
    return {column: str(row.get(column, "")) for column in COLUMNS}


def rows_of(plan: Plan, known: Mapping[str, Row] = MappingProxyType({})) -> list[Row]:
    """Rows of all runs that are done, in the study's order.

    Args:
        plan: the study; what is done in its folder is read there.
        known: rows of runs that were made elsewhere, by id.
    """
    rows = {**known} | {plan.id(run): row_of(plan, run, result) for run, result in plan.results()}
    return [rows[plan.id(run)] for run in plan.runs if plan.id(run) in rows]


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
