"""Checkpoint files appear whole or not at all, whatever happens while they are written."""

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils

from mvlm_plugin.checkpointing import CheckpointError, writing


class _Disk:
    """Stands for open(): files that fail with an error after some bytes, in the first few attempts."""

    def __init__(self, number: int, after: int, failures: int = 99) -> None:
        self.error, self.after, self.failures, self.opened = OSError(number, "it failed"), after, failures, 0

    def __call__(self, path: str, mode: str) -> Any:
        file = open(path, mode)  # noqa: SIM115
        if mode == "wb":
            self.opened += 1
            if self.opened <= self.failures:
                written, write = 0, file.write

                class Failing:
                    def __enter__(inner) -> Any:
                        return inner

                    def __exit__(inner, *_: object) -> None:
                        file.close()

                    def __getattr__(inner, name: str) -> Any:
                        return getattr(file, name)

                    def write(inner, data: Any) -> int:
                        nonlocal written
                        written += len(data)
                        if written > self.after:
                            raise self.error
                        return write(data)

                return Failing()
        return file


@pytest.fixture
def state() -> dict[str, Any]:
    return {"model": {"weight": torch.arange(5000.0)}, "list": [torch.ones(3)]}


def _save(state: dict[str, Any], path: Path) -> None:
    """As fairseq's trainer calls it."""
    checkpoint_utils.torch_persistent_save(state, str(path), async_write=False)


@pytest.mark.parametrize("after", [0, 100, 15000])
def test_a_full_disk_leaves_the_checkpoint_before_and_says_how_much_is_needed(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    path = tmp_path / "checkpoint_last.pt"
    _save({"before": 1}, path)
    disk = _Disk(errno.ENOSPC, after)
    monkeypatch.setattr(writing, "open", disk, raising=False)
    state["model"]["large"] = torch.zeros(3 * 2**18)
    with pytest.raises(
        CheckpointError, match=rf"cannot write {path}: no room is left .* takes about 3 MiB, and \d+ MiB"
    ):
        _save(state, path)
    assert disk.opened == 1  # a full disk is not tried again
    assert torch.load(path, weights_only=True) == {"before": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_that_passes_is_tried_again_from_an_empty_file(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(errno.EIO, 10000, failures=2)
    monkeypatch.setattr(writing, "open", disk, raising=False)
    monkeypatch.setattr(writing, "_PAUSE", 0)
    path = tmp_path / "checkpoint_last.pt"
    _save(state, path)
    assert disk.opened == 3
    torch.save(state, tmp_path / "expected.pt")
    assert path.stat().st_size == pytest.approx((tmp_path / "expected.pt").stat().st_size, rel=0.1)
    assert torch.equal(torch.load(path, weights_only=True)["model"]["weight"], state["model"]["weight"])


def test_a_failure_that_stays_ends_the_run(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(errno.EIO, 10000)
    monkeypatch.setattr(writing, "open", disk, raising=False)
    monkeypatch.setattr(writing, "_PAUSE", 0)
    with pytest.raises(CheckpointError, match=r"it failed\. Earlier checkpoints are whole"):
        _save(state, tmp_path / "checkpoint_last.pt")
    assert disk.opened == 3
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_saved_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_last.pt"
    with pytest.raises((AttributeError, TypeError)):
        _save({"function": lambda: None}, path)
    assert not list(tmp_path.iterdir())


def test_copies_are_whole_or_absent_and_no_links(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "checkpoint_1_5.pt", tmp_path / "checkpoint_last.pt"
    _save(state, one)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "open", _Disk(errno.ENOSPC, 100), raising=False)
        with pytest.raises(CheckpointError, match=r"checkpoint_last\.pt: no room is left"):
            checkpoint_utils.PathManager.copy(str(one), str(other), overwrite=True)
    assert list(tmp_path.iterdir()) == [one]
    assert checkpoint_utils.PathManager.copy(str(one), str(other), overwrite=True)
    content = one.read_bytes()
    assert other.read_bytes() == content
    other.write_bytes(b"")  # in place
    assert one.read_bytes() == content


def test_a_file_has_its_name_only_after_it_is_on_the_disk(
    state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(writing.os, name)

        def note(*args: Any, name: str = name, original: Any = original) -> None:
            calls.append(name)
            original(*args)

        monkeypatch.setattr(writing.os, name, note)
    _save(state, tmp_path / "checkpoint_last.pt")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_writing_in_the_background_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--write-checkpoints-asynchronously"):
        checkpoint_utils.torch_persistent_save({}, str(tmp_path / "checkpoint_last.pt"), async_write=True)


def test_what_a_killed_run_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("checkpoint_last.pt.tmp", "checkpoint_1_5.pt", "notes.tmp"):
        (tmp_path / name).touch()
    writing.remove_partial_files(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_1_5.pt", "notes.tmp"]
