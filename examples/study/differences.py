"""Loss combinations against one another: mean differences of recall sums, paired over seeds and over queries."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from mvlm_plugin.evaluation.standard_error import clustered_error

from .arms import arms_of
from .csv_files import PAIR_COLUMNS, SCORES, Row
from .grid import Arm, Run
from .plan import Plan
from .settings import LINEAR
from .statistics import paired_difference

_COMPARED = ("zs_itc", "zs_itm_itc", "ft_itm_itc", "probe")


def pairs_of(plan: Plan) -> Iterator[tuple[Arm, Arm]]:
    """What is compared: each combination with the reference at equal updates, the full one also at equal compute."""
    arms = {run.arm: None for run in plan.runs}
    reference, full = plan.settings.reference, plan.settings.full
    for arm in arms:
        if arm.budget == "updates" and arm.losses not in (reference, LINEAR):
            other = arm._replace(losses=reference)
            if other in arms:
                yield arm, other
        if arm.budget == "compute":
            whole = arm._replace(losses=full, budget="updates")
            if whole in arms:
                yield whole, arm


def differences_of(plan: Plan, rows: list[Row]) -> list[Row]:
    """A row for each pair of arms and score that both have, in points of the recall sum (per cent).

    Of runs that were made elsewhere, an error over queries stands where it is of the same runs; it is left empty where
    some of a pair's runs were made there and some here.
    """
    by_arm = arms_of(rows)
    known_errors = {_key(row): row["se_queries"] for row in plan.known.differences}
    found = []
    for first, second in pairs_of(plan):
        for score in _COMPARED:
            values = [
                {int(row["seed"]): float(row[f"{score}_sum"]) for row in by_arm.get(arm, []) if row[f"{score}_sum"]}
                for arm in (first, second)
            ]
            seeds = sorted(values[0].keys() & values[1].keys())
            if not seeds:
                continue
            difference = paired_difference(*values)
            row = {
                "losses": first.losses,
                "budget": first.budget,
                "against": second.losses,
                "against_budget": second.budget,
                "fraction": str(first.fraction),
                "variant": first.variant,
                "score": score,
                "seeds": str(len(seeds)),
                "difference": f"{difference.value:.4f}",
                "se_seeds": f"{difference.error:.4f}" if len(seeds) > 1 else "",
            }
            moved = [_influence(plan, arm, seeds, score) for arm in (first, second)]
            found.append(row | {"se_queries": _paired_error(*moved) or known_errors.get(_key(row), "")})
    return found


def _key(row: Row) -> tuple[str, ...]:
    """What a difference is of. Runs that are known are among those of the rows, so that as many seeds are the same."""
    return tuple(row[name] for name in PAIR_COLUMNS)


def _paired_error(first: np.ndarray | None, second: np.ndarray | None) -> str:
    """Clustered by image; empty where a run's figures are not here."""
    if first is None or second is None:
        return ""
    return f"{100 * clustered_error(torch.from_numpy(first - second)):.4f}"


def _influence(plan: Plan, arm: Arm, seeds: list[int], score: str) -> np.ndarray | None:
    """(images,) how much each image of the held-out split moves the recall sum, mean over seeds; None if not here."""
    stage, block = SCORES[score]
    runs: Mapping[tuple[Arm, int], Run] = {(run.arm, run.seed): run for run in plan.runs}
    paths: list[Path] = [plan.folder(runs[arm, seed]) / f"{stage}.npz" for seed in seeds]
    if not all(path.exists() for path in paths):
        return None
    loaded = []
    for path in paths:
        with np.load(path) as arrays:
            loaded.append(arrays[f"{block}_sum"])
    return np.mean(loaded, axis=0)
