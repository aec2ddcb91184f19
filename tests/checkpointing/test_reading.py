"""Which checkpoint a run goes on from when files are damaged."""

import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mvlm_plugin.checkpointing import CheckpointError
from mvlm_plugin.checkpointing.reading import choose, find_damage
from tests.soak.processes import same


def _write(folder: Path, **updates: int) -> None:
    """Checkpoints by name without ``.pt``, each with a number of updates."""
    for name, count in updates.items():
        state = {"optimizer_history": [{"num_updates": count}], "model": {"weight": torch.full((1000,), float(count))}}
        torch.save(state, folder / f"{name}.pt")


def _options(folder: Path, **given: Any) -> SimpleNamespace:
    defaults = {"restore_file": "checkpoint_last.pt", "finetune_from_model": None, "continue_once": None}
    return SimpleNamespace(**{"save_dir": str(folder), **defaults, **given})


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_a_weight(path: Path) -> None:
    data = bytearray(path.read_bytes())
    weight = torch.load(path, weights_only=True)["model"]["weight"]
    data[data.index(weight.numpy().tobytes()) + 1000] ^= 1
    path.write_bytes(data)
    changed = torch.load(path, weights_only=True)["model"]["weight"]
    assert not torch.equal(changed, weight)  # torch does not notice


@pytest.mark.parametrize("damage", [_cut, _empty, _flip_a_weight])
def test_the_newest_sound_checkpoint_takes_the_place_of_a_damaged_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    # Names do not tell which is newest: epoch 1 ended at update 12.
    _write(tmp_path, checkpoint_last=20, checkpoint_1_10=10, checkpoint1=12, checkpoint_2_9=9, checkpoint_2_15=15)
    for name in ("checkpoint_last.pt", "checkpoint_2_15.pt"):
        damage(tmp_path / name)
    with caplog.at_level(logging.WARNING):
        assert choose(_options(tmp_path)) == str(tmp_path / "checkpoint1.pt")
    reason = {_cut: "it cannot be read: ", _empty: "it is empty", _flip_a_weight: "the sum of its part "}[damage]
    assert f"{tmp_path}/checkpoint_last.pt cannot be used ({reason}" in caplog.text
    assert f"going on from {tmp_path}/checkpoint1.pt, of update 12" in caplog.text


def test_a_sound_last_checkpoint_is_left_to_fairseq_though_others_are_newer(tmp_path: Path) -> None:
    _write(tmp_path, checkpoint_last=5, checkpoint_1_10=10)
    assert choose(_options(tmp_path)) == ""


def test_a_last_checkpoint_that_is_not_there_although_others_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Killed after the first file of the first checkpoint; --finetune-from-model must not begin anew.
    _write(tmp_path, checkpoint_1_5=5, pretrained=99)
    options = _options(tmp_path, finetune_from_model=str(tmp_path / "pretrained.pt"))
    assert choose(options) == str(tmp_path / "checkpoint_1_5.pt")
    assert "it is not there" in caplog.text


def test_the_first_start(tmp_path: Path) -> None:
    assert choose(_options(tmp_path / "absent")) == ""
    (tmp_path / "checkpoint_last.pt.tmp").touch()
    (tmp_path / "crash.pt").touch()
    assert choose(_options(tmp_path)) == ""


def test_no_silent_start_from_nothing(tmp_path: Path) -> None:
    _write(tmp_path, checkpoint_last=5, checkpoint_1_3=3)
    for path in tmp_path.iterdir():
        _cut(path)
    with pytest.raises(CheckpointError, match=r"no other checkpoint in .* is sound.*--restore-file.*--save-dir"):
        choose(_options(tmp_path))


def test_a_file_that_was_asked_for_is_sound_or_an_error(tmp_path: Path) -> None:
    _write(tmp_path, checkpoint_last=5, chosen=3)
    chosen = tmp_path / "chosen.pt"
    for option in ("restore_file", "finetune_from_model"):
        folder = tmp_path if option == "restore_file" else tmp_path / "new"
        options = _options(folder, **{option: str(chosen)})
        _write(tmp_path, chosen=3)
        assert choose(options) == ""
        _cut(chosen)
        with pytest.raises(CheckpointError, match=rf"--{option.replace('_', '-')} {chosen} is damaged"):
            choose(options)
        chosen.unlink()
        with pytest.raises(CheckpointError, match="there is no such file"):
            choose(options)


def test_any_flipped_byte_is_found_or_changes_nothing(tmp_path: Path) -> None:
    _write(tmp_path, checkpoint_last=5)
    path = tmp_path / "checkpoint_last.pt"
    whole, expected = path.read_bytes(), torch.load(path, weights_only=True)
    assert not find_damage(str(path))
    draw = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        if not find_damage(str(path)):
            assert same(torch.load(path, weights_only=True), expected)


def test_any_cut_is_found(tmp_path: Path) -> None:
    _write(tmp_path, checkpoint_last=5)
    path = tmp_path / "checkpoint_last.pt"
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert find_damage(str(path)), length
