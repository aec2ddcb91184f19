"""How many updates a run makes: as many as the settings say, or as many as cost what the full losses cost."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mvlm_plugin.evaluate.base import write_whole

from .csv_files import Row
from .grid import Run
from .settings import LINEAR, StudyError

_FILE = "updates.json"


class Cost(NamedTuple):
    """CPU seconds that a run's updates have cost, start included; None where it was interrupted, or made none."""

    losses: str
    variant: str
    budget: str
    updates: int
    seconds: float | None


def cost_of(result: Mapping[str, Any]) -> Cost:
    """Of a run's result."""
    run, stage = result["run"], result["stages"].get("pretrain", {})
    seconds = stage["cpu_seconds"] if stage.get("attempts") == 1 else None
    return Cost(run["losses"], run["variant"], run["budget"], result["updates"], seconds)


def known_cost(row: Row) -> Cost:
    """Of a run's row in a table."""
    updates, seconds = int(row["updates"]), row["pretrain_cpu_seconds"]
    return Cost(row["losses"], row["variant"], row["budget"], updates, float(seconds) if updates and seconds else None)


def updates_of(run: Run, folder: Path, full: str, costs: Sequence[Cost]) -> int:
    """Updates of a run's pre-training.

    On an equal compute budget all runs of a combination make as many as the first of them. What was counted once is
    kept, so that an interrupted run goes on with it.

    Args:
        run: the run.
        folder: of its files.
        full: the losses whose cost is the budget.
        costs: of the study's other runs.

    Raises:
        StudyError: an equal-compute run, and the cost of its losses or of the full ones was not measured yet.
    """
    if run.losses == LINEAR:
        return 0
    updates = int(run.train["max-update"])
    if run.budget == "updates":
        return updates
    kept = folder / _FILE
    if kept.exists():
        return int(json.loads(kept.read_text())["updates"])
    same = [cost.updates for cost in costs if cost[:3] == (run.losses, run.variant, "compute")]
    return same[0] if same else _counted(run, kept, full, costs)


def _counted(run: Run, kept: Path, full: str, costs: Sequence[Cost]) -> int:
    found = {losses: seconds_per_update(costs, losses, run.variant) for losses in (run.losses, full)}
    seconds = {losses: value for losses, value in found.items() if value is not None}
    missing = found.keys() - seconds.keys()
    if missing:
        raise StudyError(f"{run.name}: no run of {' and '.join(sorted(missing))} has been measured; these come first")
    updates = max(1, round(int(run.train["max-update"]) * seconds[full] / seconds[run.losses]))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(str(kept), json.dumps({"updates": updates, "seconds_per_update": seconds}) + "\n")
    return updates


def seconds_per_update(costs: Iterable[Cost], losses: str, variant: str) -> float | None:
    """Median CPU seconds an update, start included, of runs of a loss combination that were not interrupted."""
    same = [cost for cost in costs if cost[:3] == (losses, variant, "updates")]
    found = [cost.seconds / cost.updates for cost in same if cost.seconds is not None]
    return median(found) if found else None
