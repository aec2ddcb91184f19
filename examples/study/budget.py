"""How many updates a run makes: as many as the settings say, or as many as cost what the full losses cost."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from mvlm_plugin.evaluate.base import write_whole

from .csv_files import Row
from .grid import Run
from .settings import LINEAR, StudyError

_FILE = "updates.json"


def updates_of(run: Run, folder: Path, full: str, rows: Sequence[Row]) -> int:
    """Updates of a run's pre-training.

    On an equal compute budget all runs of a combination make as many as the first of them. What was counted once is
    kept, so that an interrupted run goes on with it.

    Args:
        run: the run.
        folder: of its files.
        full: the losses whose cost is the budget.
        rows: of the study's runs that are done.

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
    same = _rows_of(rows, run.losses, run.variant, "compute")
    return int(same[0]["updates"]) if same else _counted(run, kept, full, rows)


def _counted(run: Run, kept: Path, full: str, rows: Sequence[Row]) -> int:
    found = {losses: seconds_per_update(rows, losses, run.variant) for losses in (run.losses, full)}
    seconds = {losses: value for losses, value in found.items() if value is not None}
    missing = found.keys() - seconds.keys()
    if missing:
        raise StudyError(f"{run.name}: no run of {' and '.join(sorted(missing))} has been measured; these come first")
    updates = max(1, round(int(run.train["max-update"]) * seconds[full] / seconds[run.losses]))
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(str(kept), json.dumps({"updates": updates, "seconds_per_update": seconds}) + "\n")
    return updates


def seconds_per_update(rows: Iterable[Row], losses: str, variant: str) -> float | None:
    """Median CPU seconds an update, start included, of runs of a loss combination that were not interrupted."""
    same = _rows_of(rows, losses, variant, "updates")
    found = [float(row["pretrain_cpu_seconds"]) / int(row["updates"]) for row in same if row["pretrain_cpu_seconds"]]
    return median(found) if found else None


def _rows_of(rows: Iterable[Row], losses: str, variant: str, budget: str) -> list[Row]:
    """Of all shares and seeds."""
    return [row for row in rows if (row["losses"], row["variant"], row["budget"]) == (losses, variant, budget)]
