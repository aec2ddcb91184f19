"""Curves of a training run: read from its log, stored, and compared within tolerances.

The tolerances stand between two measurements. *Spread*: the same run with two threads in place of one, and with the
kernels of older processors (``ATEN_CPU_CAPABILITY``, ``DNNL_MAX_CPU_ISA`` and ``MKL_ENABLE_INSTRUCTIONS`` at SSE and
AVX2 in place of AVX-512). *Faults*: one option changed a little. CONTRIBUTING.md has the figures of both.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mvlm_plugin.evaluation.pair_table import FIGURES
from tests.cli.commands import logged

LOSSES = ("mlm_loss", "mim_loss", "itc_loss", "itm_loss")
# Of every update, in the order in which they are compared: the first that differs is named.
TRAIN = (*LOSSES, "loss", "mlm_acc", "itc_acc", "itm_acc", "temperature", "gnorm")
VALID = ("loss", *FIGURES, "pairs")
# Up to this update differences of rounding do not grow.
EARLY = 20
AGAIN = "python -m tests.golden.write"
_TRAIN_FILE, _VALID_FILE = "train.csv", "valid.json"


class Curves(NamedTuple):
    """What a run logs.

    train: figure -> its value at update 1, 2, ...; valid: figure -> its value at the end, empty where the run did not
    validate; origin: data (the fingerprint of the data-bin) and versions of what computes, for messages only.
    """

    train: Mapping[str, Sequence[float]]
    valid: Mapping[str, float]
    origin: Mapping[str, str]


class Band(NamedTuple):
    """The largest absolute difference that is no fault: in updates 1 to EARLY, later, and in validation."""

    early: float
    late: float
    valid: float


# Figures that are not named are compared exactly.
TOLERANCES = {
    **{name: Band(early=0.001, late=0.015, valid=0.01) for name in (*LOSSES, "loss")},
    "mlm_acc": Band(0.002, 0.04, 0.02),
    "itc_acc": Band(0.002, 0.1, math.nan),
    "itm_acc": Band(0.002, 0.1, 0.05),
    "temperature": Band(1e-5, 1e-4, math.nan),
    "gnorm": Band(0.02, 0.5, math.nan),
    # 80 images and captions: three of them.
    **{f"{direction}_r{k}": Band(math.nan, math.nan, 0.04) for direction in ("i2t", "t2i") for k in (1, 5, 10)},
    **{f"{name}_gain": Band(math.nan, math.nan, 0.004) for name in ("mlm", "mim")},
    **{f"{name}_gain_se": Band(math.nan, math.nan, 0.001) for name in ("mlm", "mim")},
}
_EXACT = Band(0.0, 0.0, 0.0)


def curves_of(log: str, origin: Mapping[str, str]) -> Curves:
    """The curves of a log that fairseq-train wrote with ``--log-format json --log-interval 1``."""
    updates, validations = logged(log, "train_inner"), logged(log, "valid")
    train = {name: [float(update[name]) for update in updates] for name in TRAIN if name in updates[0]}
    last = validations[-1] if validations else {}
    valid = {name: float(last[f"valid_{name}"]) for name in VALID if f"valid_{name}" in last}
    return Curves(train, valid, dict(origin))


def write(curves: Curves, folder: Path) -> None:
    """Store curves in a folder: a line an update, and the figures of validation."""
    with (folder / _TRAIN_FILE).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["update", *curves.train])
        rows.writerows([update, *values] for update, values in enumerate(zip(*curves.train.values(), strict=True), 1))
    stored = {"origin": curves.origin, "valid": curves.valid}
    (folder / _VALID_FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Curves:
    """The curves that write() stored."""
    with (folder / _TRAIN_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    train = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "update"}
    stored: dict[str, Any] = json.loads((folder / _VALID_FILE).read_text(encoding="utf-8"))
    return Curves(train, stored["valid"], stored["origin"])


def first_difference(found: Curves, stored: Curves) -> str:
    """What differs first between a run and the stored curves, in a sentence; empty where nothing does.

    Args:
        found: of a run; one that is shorter is compared as far as it goes, and one that did not validate in its
            training alone.
        stored: from read().
    """
    if missing := [name for name in stored.train if name not in found.train]:
        return f"{', '.join(missing)}: not logged any more"
    for row in range(len(found.train["loss"])):
        for name, values in stored.train.items():
            band = TOLERANCES.get(name, _EXACT)
            tolerance = band.early if row < EARLY else band.late
            if row >= len(values) or not abs(found.train[name][row] - values[row]) <= tolerance:
                expected = f"{values[row]:g}" if row < len(values) else "no such update"
                return _differs(f"{name} at update {row + 1}", found.train[name][row], expected, tolerance)
    for name, value in stored.valid.items() if found.valid else ():
        tolerance = TOLERANCES.get(name, _EXACT).valid
        if not abs(found.valid.get(name, math.nan) - value) <= tolerance:
            return _differs(f"{name} of validation", found.valid.get(name, math.nan), f"{value:g}", tolerance)
    return ""


def _differs(place: str, found: float, expected: str, tolerance: float) -> str:
    return f"{place} is {found:g}; stored: {expected}; tolerance {tolerance:g}"


def explain(difference: str, found: Curves, stored: Curves) -> str:
    """A difference, with what may have caused it beside the code, and what to do."""
    other = [
        f"{name} {stored.origin.get(name, 'none')} -> {found.origin.get(name, 'none')}"
        for name in dict.fromkeys([*stored.origin, *found.origin])
        if stored.origin.get(name) != found.origin.get(name)
    ]
    return (
        f"learning has changed: {difference}\n"
        f"data and versions since the curves were stored: {', '.join(other) or 'the same'}\n"
        f"If the change is meant, write the curves anew with `{AGAIN}` and say in the commit message why they changed; "
        "see CONTRIBUTING.md, 'The golden run'."
    )
