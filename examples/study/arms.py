"""Rows of the table by arm: runs that differ in their seed alone, and the means over them."""

from collections.abc import Iterable, Mapping

from .csv_files import Row
from .grid import Arm
from .statistics import Mean, mean_of


def arms_of(rows: Iterable[Row]) -> dict[Arm, list[Row]]:
    """Rows grouped by arm, in the order in which arms come first."""
    found: dict[Arm, list[Row]] = {}
    for row in rows:
        arm = Arm(row["losses"], float(row["fraction"]), row["variant"], row["budget"])
        found.setdefault(arm, []).append(row)
    return found


def mean_over(rows: Iterable[Mapping[str, str]], column: str) -> Mean:
    """Mean over the rows that have a figure; its error over seeds."""
    return mean_of([float(row[column]) for row in rows if row[column]])


def title(arm: Arm) -> str:
    """For people: ``itc_itm, equal compute``."""
    parts = [arm.losses.replace("_", " + "), *([arm.variant] if arm.variant != "default" else [])]
    return ", ".join(parts + (["equal compute"] if arm.budget == "compute" else []))
