"""Updates that are not finite are skipped and listed."""

import json
import math
from pathlib import Path

import pytest
import torch
from fairseq import metrics

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion
from mvlm_plugin.data.pair_list import read_pairs
from mvlm_plugin.guards.skipped_updates import NotFiniteError, SkippedUpdates
from tests.guards.runs import spoil_losses, train, updates_of
from tests.helpers import write_databin

BAD_PAIR = 17


@pytest.mark.parametrize(("optimizer", "frequency"), [("adam", 1), ("adamw_parts", 2)])
def test_an_update_that_is_not_finite_is_not_made_and_its_pairs_are_listed(
    tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, frequency: int
) -> None:
    seen = updates_of(monkeypatch)
    spoil_losses(monkeypatch, lambda sample: BAD_PAIR in sample["id"])
    average = {"optimizer__weight_ema": 0.9} if optimizer == "adamw_parts" else {}
    more = {"optimization__update_freq": [frequency], "dataset__num_workers": 1, **average}
    checkpoint = train(tiny_databin, tmp_path / "run", 8 // frequency, optimizer, **more)
    bad = [pairs for pairs in seen if BAD_PAIR in pairs]
    assert bad
    assert len(seen) == 8 // frequency + len(bad), "a skipped update counts as none"
    assert all(value.isfinite().all() for value in checkpoint["model"].values())
    state = checkpoint["last_optimizer_state"]["state"].values()
    assert all(value.isfinite().all() for entry in state for value in entry.values() if torch.is_tensor(value))
    listed = tmp_path / "run" / "skipped_updates.rank0.jsonl"
    assert [(known.folder, known.split, known.pairs) for known in read_pairs(listed)] == [
        (str(tiny_databin), "train", pairs) for pairs in bad
    ]
    note = json.loads(listed.read_text().splitlines()[0])
    assert (note["grad_norm"], note["epoch"], note["update"]) == ("nan", 1, seen.index(bad[0]) + 1)
    assert "nan" in note["losses"]
    assert not (tmp_path / "run" / "crash.pt").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_many_in_a_row_end_the_run_and_the_error_names_the_file(
    tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    seen = updates_of(monkeypatch)
    spoil_losses(monkeypatch, lambda sample: len(seen) > 2, value)
    with pytest.raises(NotFiniteError, match=r"3 updates in a row .*skipped_updates\.rank0\.jsonl"):
        train(tiny_databin, tmp_path, task__max_skipped_updates=3)
    assert len(seen) == 5
    assert [known.pairs for known in read_pairs(tmp_path / "skipped_updates.rank0.jsonl")] == seen[2:]


def test_only_updates_in_a_row_count_together(
    tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = updates_of(monkeypatch)
    spoil_losses(monkeypatch, lambda sample: len(seen) % 3 != 0)
    train(tiny_databin, tmp_path, updates=3, task__max_skipped_updates=3)
    assert len(seen) == 9
    assert metrics.get_meter("default", "skipped_updates").sum == 6


def test_a_loss_that_is_infinite_with_a_finite_gradient_is_not_learned_from(
    tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = JointMaskedVLCriterion.forward

    def spoiled(self: object, model: torch.nn.Module, sample: dict, reduce: bool = True) -> tuple:
        loss, size, log = forward(self, model, sample, reduce)
        return loss + math.inf, size, log

    monkeypatch.setattr(JointMaskedVLCriterion, "forward", spoiled)
    with pytest.raises(NotFiniteError, match="1 updates in a row"):
        train(tiny_databin, tmp_path, task__max_skipped_updates=1)
    note = json.loads((tmp_path / "skipped_updates.rank0.jsonl").read_text())
    assert (note["losses"], note["grad_norm"]) == (["inf"], "nan")


def test_a_run_resumed_after_a_skip_goes_on_as_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_databin(tmp_path / "databin")
    spoil_losses(monkeypatch, lambda sample: BAD_PAIR in sample["id"])
    with pytest.MonkeyPatch.context() as patch:
        whole_seen = updates_of(patch)
        whole = train(data, tmp_path / "whole", updates=10)
    first_bad = next(number for number, pairs in enumerate(whole_seen) if BAD_PAIR in pairs)
    assert first_bad < 6
    train(data, tmp_path / "resumed", updates=6)
    with pytest.MonkeyPatch.context() as patch:
        seen = updates_of(patch)
        resumed = train(data, tmp_path / "resumed", updates=10)
    assert seen == whole_seen[len(whole_seen) - len(seen) :]
    assert len(seen) < len(whole_seen)
    for name, value in whole["model"].items():
        assert torch.equal(value, resumed["model"][name]), name


def test_a_limit_of_none_is_refused(tiny_databin: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--max-skipped-updates 0 must be at least 1"):
        train(tiny_databin, tmp_path, task__max_skipped_updates=0)


def test_statistics_that_are_not_finite_end_the_run_at_once(tmp_path: Path) -> None:
    """Batch norms take their statistics in the forward pass, which no skipped update undoes."""
    updates = SkippedUpdates(10)
    norm = torch.nn.BatchNorm1d(3)
    updates.skip(4, 1, "nan", [], norm, tmp_path)
    norm(torch.tensor([[1.0, math.inf, 2.0], [0.0, 1.0, 2.0]]))
    with pytest.raises(NotFiniteError, match="statistics running_mean took in values that are not finite at update 5"):
        updates.skip(5, 1, "nan", [], norm, tmp_path)


def test_marking_a_norm_changes_no_finite_one() -> None:
    updates = SkippedUpdates(1)
    norm = torch.tensor(3.1415927)
    for loss in (torch.tensor(1e30), torch.tensor(-2.0)):
        updates.saw(loss)
    assert torch.equal(updates.marked(norm), norm)
    updates.saw(torch.tensor(math.inf))
    assert updates.marked(norm).isnan()
    updates.begin()
    assert torch.equal(updates.marked(norm), norm)
