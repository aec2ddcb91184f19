"""How many updates a run makes: as many as the settings say, or as many as cost what the full losses cost."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from mvlm_plugin.evaluate.base import write_whole

from .grid import Run
from .settings import LINEAR, StudyError
from .stages import RESULT

_FILE = "updates.json"


def read_results(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The results of some runs that are done, from their folders."""
    return [json.loads((folder / RESULT).read_text()) for folder in folders]


def updates_of(run: Run, folder: Path, full: str, results: Iterable[Mapping[str, Any]]) -> int:
    """Updates of a run's pre-training. What was measured once is kept, so that an interrupted run goes on with it.

    Args:
        run: the run.
        folder: of its files.
        full: the losses whose cost is the budget.
        results: of the study's other runs.

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
    measured = list(results)
    found = {losses: seconds_per_update(measured, losses, run.variant) for losses in (run.losses, full)}
    seconds = {losses: value for losses, value in found.items() if value is not None}
    missing = found.keys() - seconds.keys()
    if missing:
        raise StudyError(f"{run.name}: no run of {' and '.join(sorted(missing))} has been measured; these come first")
    updates = max(1, round(updates * seconds[full] / seconds[run.losses]))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(str(kept), json.dumps({"updates": updates, "seconds_per_update": seconds}) + "\n")
    return updates


def seconds_per_update(results: Iterable[Mapping[str, Any]], losses: str, variant: str) -> float | None:
    """Median CPU seconds an update, start included, of runs of a loss combination that were not interrupted."""
    found = []
    for result in results:
        run, stage = result["run"], result["stages"].get("pretrain", {})
        same = (run["losses"], run["variant"], run["budget"]) == (losses, variant, "updates")
        if same and stage.get("attempts") == 1:
            found.append(stage["cpu_seconds"] / result["updates"])
    return median(found) if found else None
