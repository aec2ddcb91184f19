"""Which data and versions made a checkpoint, function by function."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mvlm_plugin import training_record
from mvlm_plugin.provenance import main
from mvlm_plugin.training_record import (
    changed_versions,
    finetuned_checkpoint,
    follow_checkpoint,
    next_record,
    record_of,
    summary_of,
)  # fmt: skip


def _run(*fingerprints: str, update: int = 0, torch: str = "2.6", **more: str) -> dict[str, Any]:
    data = [{"path": f"bin{i}", "fingerprint": number} for i, number in enumerate(fingerprints)]
    own = {"mvlm_plugin_version": "0.1", "revision": "", "python": "3.11", "platform": "Linux x86_64"}
    return {"from_update": update, "data": data, **own, **more, "packages": {"torch": torch}}


def test_a_fresh_training_has_one_run() -> None:
    assert next_record(None, _run("a")) == {"runs": [_run("a")]}


def test_a_resumption_that_changes_nothing_adds_nothing() -> None:
    saved = {"runs": [_run("a", "b")]}
    moved = _run("a", "b", update=7)
    for number, entry in enumerate(moved["data"]):
        entry["path"] = f"elsewhere{number}"
    assert next_record(saved, moved) == saved


@pytest.mark.parametrize("now", [("b",), ("a", "b"), ("b", "a"), ("",), ()])
def test_other_data_are_refused(now: tuple[str, ...]) -> None:
    saved = {"runs": [_run("a")]}
    with pytest.raises(
        ValueError, match=r"cannot resume: the data are not those .* \(bin0: a; now .*--reset-dataloader"
    ):
        next_record(saved, _run(*now))
    assert next_record(saved, _run(*now, update=3), is_new_order=True) == {"runs": [_run("a"), _run(*now, update=3)]}


def test_shards_in_another_order_are_other_data() -> None:
    with pytest.raises(ValueError, match="cannot resume"):
        next_record({"runs": [_run("a", "b")]}, _run("b", "a"))


def test_other_versions_are_told_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    now = _run("a", update=5, torch="2.7", revision="f00")
    record = next_record({"runs": [_run("a")]}, now)
    assert record["runs"] == [_run("a"), now]
    assert "resumed with other versions than before: revision none -> f00, torch 2.6 -> 2.7" in caplog.text
    caplog.clear()
    assert next_record(record, _run("a", update=9, torch="2.7", revision="f00")) == record
    assert not caplog.text


def test_packages_that_came_or_went_are_changes() -> None:
    before, now = _run("a"), _run("a")
    now["packages"] = {"numpy": "2"}
    assert changed_versions(before, now) == ["torch 2.6 -> none", "numpy none -> 2"]


def test_a_finetuned_model_names_its_start_and_the_starts_start() -> None:
    first = next_record(None, _run("a"), finetuned="old.pt")  # a checkpoint without a record
    assert first["start"] == {"checkpoint": "old.pt"}
    second = next_record(first, _run("b"), finetuned="first.pt")
    assert second == {"runs": [_run("b")], "start": {**first, "checkpoint": "first.pt"}}
    assert next_record(second, _run("b")) == second


@pytest.mark.parametrize(
    ("options", "last_exists", "expected"),
    [
        ({}, False, ""),
        ({"finetune_from_model": "a.pt"}, False, "a.pt"),
        ({"finetune_from_model": "a.pt"}, True, ""),  # the training goes on
        ({"finetune_from_model": "a.pt", "continue_once": "b.pt"}, False, ""),
        ({"restore_file": "b.pt"}, False, ""),
    ],
)
def test_when_weights_alone_are_taken(
    options: dict[str, str], last_exists: bool, expected: str, tmp_path: Path
) -> None:
    if last_exists:
        (tmp_path / "checkpoint_last-shard0.pt").touch()
    usual = {"save_dir": str(tmp_path), "restore_file": "checkpoint_last.pt", "finetune_from_model": None}
    assert finetuned_checkpoint(SimpleNamespace(**(usual | options)), "-shard0") == expected


@pytest.mark.parametrize(
    "record",
    [
        7, {}, {"runs": []}, {"runs": [7]}, {"runs": {"data": []}}, {"runs": [{"data": [], "packages": 7}]},
        {"runs": [{"data": [{}], "packages": {}}]},
        {"runs": [{"data": [{"path": "a", "fingerprint": 7}], "packages": {}}]},
        {"runs": [{"data": [], "packages": {}, "mine": torch.zeros(1)}]},
    ],
)  # fmt: skip
def test_damaged_records_are_refused(record: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="record of data and versions is damaged"):
        record_of({"extra_state": {"provenance": record}})
    torch.save({"extra_state": {"provenance": record}}, tmp_path / "a.pt")
    assert main([str(tmp_path / "a.pt")]) == 2
    assert "record of data and versions is damaged" in capsys.readouterr().err


def test_a_record_without_end_is_refused() -> None:
    record: dict[str, Any] = {"runs": [_run("a")]}
    record["start"] = record
    with pytest.raises(ValueError, match="damaged"):
        record_of({"provenance": record})


def test_files_without_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record_of(None) is None
    assert record_of({"extra_state": None}) is None
    torch.save({"extra_state": {}}, tmp_path / "old.pt")
    (tmp_path / "b.pt").write_bytes(b"hello")
    for name, message in (("old.pt", "an older version"), ("b.pt", "error"), ("none.pt", "No such file")):
        assert main([str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_tasks_of_other_plugins_are_left_alone() -> None:
    trainer = SimpleNamespace(task=SimpleNamespace())
    follow_checkpoint(SimpleNamespace(reset_dataloader=False), trainer, {"provenance": 7}, "")
    assert vars(trainer.task) == {}


def test_resuming_an_older_checkpoint_is_told(
    tiny_databin: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_record, "environment", lambda packages: {"packages": {}})
    task = SimpleNamespace(provenance={}, cfg=SimpleNamespace(data=str(tiny_databin)))
    trainer = SimpleNamespace(task=task, get_num_updates=lambda: 5)
    follow_checkpoint(SimpleNamespace(reset_dataloader=False), trainer, {"train_iterator": {}}, "")
    assert "does not say which data and versions made it" in caplog.text
    entry = {"path": str(tiny_databin), "fingerprint": ""}
    assert task.provenance == {"runs": [{"from_update": 5, "data": [entry], "packages": {}}]}


def test_the_summary_is_one_line() -> None:
    record = {"runs": [_run("x"), _run("a" * 64, revision="0123456789abcdef-dirty")]}
    assert summary_of(record) == "mvlm-plugin 0.1 0123456789ab, Python 3.11, torch 2.6; data bin0: aaaaaaaaaaaa"
