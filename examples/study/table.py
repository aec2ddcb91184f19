"""The table of a study: a row a run. Recalls and their sums are in per cent."""

import shlex
from collections.abc import Mapping
from typing import Any

from .commands import measuring, pretraining
from .csv_files import GAINS, RUN_COLUMNS, SCORES, Row
from .grid import Run
from .plan import Plan
from .settings import LINEAR, OBJECTIVES


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
        "updates": result.get("zero_shot", {}).get("linear", result)["updates"],
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
    return {column: str(row.get(column, "")) for column in RUN_COLUMNS}


def rows_of(plan: Plan) -> list[Row]:
    """Rows of all runs that are done here or known from elsewhere, in the study's order."""
    rows = plan.known.rows | {plan.id(run): row_of(plan, run, result) for run, result in plan.results()}
    return [rows[plan.id(run)] for run in plan.runs if plan.id(run) in rows]
