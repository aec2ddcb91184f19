"""What fairseq's loop forgets when a run goes on."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mvlm_plugin.checkpointing.loop import PATIENCE, go_on, patience_state, repeat_end_of_epoch


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands for fairseq_cli.train; importing that sets up logging."""
    module: Any = ModuleType("fairseq_cli.train")
    module.validate_and_save = lambda: None
    module.should_stop_early = lambda cfg, loss: False
    module.train = lambda cfg, trainer, *rest: ([1.5], False)
    monkeypatch.setitem(sys.modules, "fairseq_cli.train", module)
    return module


def _train(loop: Any, updates: int, max_update: int = 0, patience: int = -1) -> Any:
    cfg = SimpleNamespace(
        optimization=SimpleNamespace(max_update=max_update), checkpoint=SimpleNamespace(patience=patience)
    )
    return loop.train(cfg, SimpleNamespace(get_num_updates=lambda: updates), None, None)


def test_a_run_that_was_over_makes_no_update_more(loop: Any) -> None:
    go_on(loop, None)
    assert _train(loop, 9, max_update=10) == ([1.5], False)
    assert _train(loop, 10, max_update=10) == ([None], True)
    assert _train(loop, 10) == ([1.5], False)  # without a limit


def test_patience_counts_on(loop: Any) -> None:
    assert patience_state() == {}
    loop.should_stop_early.best, loop.should_stop_early.num_runs = 0.25, 2
    state = patience_state()
    assert state == {"best": 0.25, "num_runs": 2}
    del loop.should_stop_early.best, loop.should_stop_early.num_runs
    go_on(loop, {PATIENCE: state})
    assert patience_state() == state
    assert _train(loop, 10, patience=3) == ([1.5], False)
    assert _train(loop, 10, patience=2) == ([None], True)


@pytest.mark.parametrize(
    ("epoch", "batches", "val_loss", "goes_on_in", "told"),
    [
        (3, 0, 0.5, 3, [(2, 0.5)]),
        (3, 4, 0.5, 3, []),  # in mid-epoch
        (3, 0, None, 3, []),  # without validation
        (3, 0, 0.5, 1, []),  # a new run from old weights
    ],
)
def test_the_schedule_hears_of_the_validation_that_ended_an_epoch(
    epoch: int, batches: int, val_loss: float | None, goes_on_in: int, told: list[tuple[int, float]]
) -> None:
    heard: list[tuple[int, float]] = []
    trainer = SimpleNamespace(lr_step=lambda *step: heard.append(step))
    state = {"train_iterator": {"epoch": epoch, "iterations_in_epoch": batches}, "val_loss": val_loss}
    repeat_end_of_epoch(trainer, SimpleNamespace(epoch=goes_on_in), state)
    repeat_end_of_epoch(trainer, SimpleNamespace(epoch=goes_on_in), None)
    assert heard == told
