"""Hostile inputs: each is listed as rejected or stored readable, and nothing crashes, hangs, or writes elsewhere.

``MVLM_HOSTILE_INPUTS=5000 python -m pytest tests/data_prep/test_prep_hostile.py`` runs 5,000 inputs; without it, some
hundred. What became of them is printed at the end of a run with ``-s``; ``MVLM_HOSTILE_SEED=2`` gives others.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hostile_checks import Outcomes, check_databin
from hostile_files import damage_file
from hostile_forms import Form
from hostile_inputs import ALL_FORMS, FILE_FORMS, SEED, Batch, batch_items, batches, files_count
from hostile_items import FIRST_NUMBER, Item, good_item
from hostile_runs import Place, Runner, check_result, run_forked, run_here, run_process
from hostile_tars import TarForm

from data_prep.cli import main

# Pillow warns of what is odd in the images that are stored.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
INPUTS = int(os.environ.get("MVLM_HOSTILE_INPUTS", "360"))
BATCHES = batches(INPUTS)
WORKERS_AND_RUNNERS: tuple[tuple[str, Runner], ...] = (("1", run_here), ("2", run_forked), ("2", run_here))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Outcomes]:
    """Counts what became of the inputs, and prints it at the end."""
    counts: Outcomes = Counter()
    yield counts
    print(f"\n{counts.total():,} hostile inputs")
    for (kind, outcome), number in sorted(counts.items()):
        print(f"  {number:5,}  {outcome:10}  {kind}")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that give every run the same tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    items = [good_item(FIRST_NUMBER + 1234 * number, "{}.png".format) for number in range(40)]
    arguments = ALL_FORMS[0].write(folder / "raw", items)
    assert main([*arguments, "--vocab-size", "60", "--workers", "1", "--dest", str(folder / "bin")]) == 0
    return ["--tokenizer-from", str(folder / "bin")]


def run(place: Place, items: list[Item], batch: Batch, runner: Runner, *options: str) -> Outcomes:
    """Write a source and prepare it."""
    arguments = [*batch.form.write(place.raw, items), *batch.options, *options, "--dest", str(place.databin)]
    place.remember()
    result = runner(arguments, place)
    check_result(result)
    assert result.status == 0, result.error[-3000:]
    place.check(finished=True)
    return check_databin(items, place, batch.same_bytes)


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch.number}, {batch.form.name}")
def test_bad_records_are_listed_and_good_ones_stored(
    batch: Batch, tmp_path: Path, tokenizer: list[str], outcomes: Outcomes
) -> None:
    place = Place(tmp_path / "place")
    workers, runner = WORKERS_AND_RUNNERS[batch.number % len(WORKERS_AND_RUNNERS)]
    items = batch_items(batch, place.outside)
    outcomes += run(place, items, batch, runner, *tokenizer, "--workers", workers)


@pytest.mark.parametrize("form", FILE_FORMS, ids=lambda form: form.name)
def test_damaged_files_are_read_or_refused_in_one_line(
    form: Form, tmp_path: Path, tokenizer: list[str], outcomes: Outcomes
) -> None:
    position = FILE_FORMS.index(form)
    for index in range(position, files_count(INPUTS), len(FILE_FORMS)):
        random = Random(f"{SEED} file {index}")
        place = Place(tmp_path / f"{index}")
        arguments = form.write(place.raw, [good_item(FIRST_NUMBER + number, form.image_name) for number in range(8)])
        path = random.choice([path for path in sorted(place.raw.iterdir()) if path.is_file()])
        kind, must = damage_file(
            random, path, form if isinstance(form, Form) else None, 5 * (index // len(FILE_FORMS)) + position
        )
        place.remember()
        result = run_forked([*arguments, *tokenizer, "--workers", "1", "--dest", str(place.databin)], place)
        check_result(result)
        assert result.status == 2 or not must, f"{kind} of {path.name} is accepted"
        place.check(finished=result.status == 0)
        if result.status == 0:
            check_databin([], place, True)
        outcomes[kind, "refused" if result.status else "read"] += 1


@pytest.mark.parametrize("number", range(2))
def test_the_real_command_trains_a_tokenizer_on_what_is_left(tmp_path: Path, number: int) -> None:
    form = ALL_FORMS[(0, -2)[number]]
    place = Place(tmp_path / "place")
    batch = Batch(form, 600 + number, 25, isinstance(form, TarForm))
    run(place, batch_items(batch, place.outside), batch, run_process, "--vocab-size", "2000", "--workers", "2")


def test_a_run_has_as_many_inputs_as_asked_for_and_all_sources() -> None:
    for total in (360, 5000):
        assert sum(batch.count for batch in batches(total)) + files_count(total) == total
        assert {batch.form.name for batch in batches(total)} == {form.name for form in ALL_FORMS}
