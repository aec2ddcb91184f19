"""Every reader of files from outside, on its kept corpus and some mutations of it; the long runs are ``make fuzz``."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS, Harness

CORPUS = Path(__file__).with_name("corpus")
# Mutated inputs of a target: those that build models take longer.
_COUNTS = {"checkpoint_config": 12, "export": 12, "checkpoint": 40, "exclusion": 60, "parquet": 60}
_COUNT = 150


@pytest.fixture
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    harness = Harness(request.param)
    yield harness
    harness.close()


@pytest.mark.parametrize(("name", "harness"), [(name, name) for name in TARGETS], indirect=["harness"])
def test_no_input_breaks_a_reader(name: str, harness: Harness, tmp_path: Path) -> None:
    kept = [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
    inputs = kept + harness.parser.seeds
    assert inputs
    rng = random.Random(name)
    for data in [*inputs, *(mutate(rng.choice(inputs), rng) for _ in range(_COUNTS.get(name, _COUNT)))]:
        try:
            harness.run(data)
        except Exception as error:
            path = tmp_path / "input"
            path.write_bytes(data)
            raise AssertionError(f"{name} breaks on {path}: {type(error).__name__}: {error}") from error
