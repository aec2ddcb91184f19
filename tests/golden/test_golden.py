"""The golden run: a change of what is learned is caught, and a change of rounding is not taken for one."""

import math
from pathlib import Path

import pytest
import torch

from tests.golden.curves import EARLY, TOLERANCES, TRAIN, Curves, explain, first_difference, read, write
from tests.golden.draw import FIGURE, draw
from tests.golden.run import STORED, UPDATES, make_scenes, train

# Another version of torch draws other random numbers: its curves are as good, and not these.
stored_torch = read(STORED).origin["torch"]
same_torch = pytest.mark.skipif(
    torch.__version__ != stored_torch, reason=f"the stored curves are those of torch {stored_torch}"
)
# What each small fault changes, and the figure in which it shows first.
FAULTS = {
    "a weight of a loss": (["--mim-weight", 0.9], "loss at update 1"),
    "a share of masked words": (["--text-mask-ratio", 0.25], "mlm_loss at update 1"),
    "a learning rate": (["--lr", 1.05e-3], "mlm_loss at update 3"),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("golden") / "data-bin")


@same_torch
def test_learning_is_as_stored(scenes: Path, tmp_path: Path) -> None:
    found, stored = train(scenes, tmp_path), read(STORED)
    difference = first_difference(found, stored)
    assert not difference, explain(difference, found, stored)
    assert len(found.train["loss"]) == UPDATES
    assert set(found.valid) == set(stored.valid)


@same_torch
@pytest.mark.parametrize("fault", FAULTS)
def test_a_small_fault_is_caught_within_few_updates(fault: str, scenes: Path, tmp_path: Path) -> None:
    changes, place = FAULTS[fault]
    difference = first_difference(train(scenes, tmp_path, *changes, updates=4), read(STORED))
    assert difference.startswith(place), difference


def shifted(curves: Curves, name: str, row: int, by: float) -> Curves:
    values = list(curves.train[name])
    values[row] += by
    return curves._replace(train={**curves.train, name: values})


@pytest.mark.parametrize("name", TRAIN)
def test_differences_beyond_the_tolerance_are_named(name: str) -> None:
    stored, band = read(STORED), TOLERANCES[name]
    assert not first_difference(stored, stored)
    for row, tolerance in ((EARLY - 1, band.early), (EARLY, band.late), (UPDATES - 1, band.late)):
        assert not first_difference(shifted(stored, name, row, 0.9 * tolerance), stored)
        difference = first_difference(shifted(stored, name, row, -1.1 * tolerance), stored)
        assert difference.startswith(f"{name} at update {row + 1} is")
        assert first_difference(shifted(stored, name, row, math.nan), stored)


def test_figures_that_are_missing_and_validation_are_compared() -> None:
    stored = read(STORED)
    less = stored._replace(train={name: values for name, values in stored.train.items() if name != "mim_loss"})
    assert first_difference(less, stored) == "mim_loss: not logged any more"
    for name, value in stored.valid.items():
        other = stored._replace(valid={**stored.valid, name: value + 0.5})
        assert first_difference(other, stored).startswith(f"{name} of validation is")
    other = stored._replace(origin={**stored.origin, "numpy": "1.0"})
    assert f"numpy {stored.origin['numpy']} -> 1.0" in explain("a difference", other, stored)


def test_curves_are_stored_and_read_alike(tmp_path: Path) -> None:
    stored = read(STORED)
    write(stored, tmp_path)
    assert read(tmp_path) == stored
    for name in ("train.csv", "valid.json"):
        assert (tmp_path / name).read_bytes() == (STORED / name).read_bytes()


def test_the_picture_is_that_of_the_stored_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib (extra: plots) is not installed")
    draw(read(STORED), tmp_path / "drawn.svg")
    text = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "MLM: masked words (nats)" in text
    assert text == FIGURE.read_text(encoding="utf-8")
