"""Panels of real trainings: what is written, and that a training neither changes nor ends because of them."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvlm_plugin.panels import panels
from tests.test_same_twice import state_of
from tests.training import train

BATCH = ["--batch-size", 20, "--dropout", 0.1]
GRADIENTS = {
    f"gradient_norm/{part}_encoder/{loss}" for part in ("image", "text") for loss in ("mlm", "mim", "itc", "itm")
}
SCALARS = {"temperature", "conditioning_gain/mlm", "conditioning_gain/mim", "panels/share_of_time", *GRADIENTS}


def watched(folder: Path, interval: int = 2) -> list[Any]:
    return ["--tensorboard-logdir", folder / "tensorboard", "--panel-interval", interval, "--log-format", "json"]


def events(folder: Path, name: str = "panels") -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard" / name))
    found.Reload()
    return found


def test_a_training_with_panels_ends_as_one_without_bit_for_bit(small_scenes: Path, tmp_path: Path) -> None:
    on, off, never = tmp_path / "on", tmp_path / "off", tmp_path / "never"
    expected = state_of(train(small_scenes, off, *BATCH, updates=4))
    assert state_of(train(small_scenes, on, *BATCH, *watched(on, 1), updates=4)) == expected
    train(small_scenes, never, *BATCH, *watched(never, 0), updates=4)
    assert not (never / "tensorboard" / "panels").exists()

    found = events(on)
    assert set(found.Tags()["scalars"]) == SCALARS
    assert [event.step for event in found.Images("pairs")] == [1, 2, 3, 4]
    for name in SCALARS:
        values = [event.value for event in found.Scalars(name)]
        assert len(values) == 4
        assert all(abs(value) < 1e3 for value in values), name  # and none is nan
    for name in GRADIENTS:
        assert all(event.value > 0 for event in found.Scalars(name)), name
    texts = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("words/text_summary")]
    assert len(set(texts)) == 4
    assert "| true word | own image | other image |" in texts[0]


def test_pictures_are_of_the_same_pairs_and_change_with_the_model_alone(small_scenes: Path, tmp_path: Path) -> None:
    train(small_scenes, tmp_path, *BATCH, *watched(tmp_path), "--panel-pairs", 3, updates=4)
    # A run that goes on from there draws the pairs of the first one.
    train(small_scenes, tmp_path, *BATCH, *watched(tmp_path), "--panel-pairs", 3, updates=6)
    found = events(tmp_path)
    sheets = [Image.open(io.BytesIO(event.encoded_image_string)) for event in found.Images("pairs")]
    assert [event.step for event in found.Images("pairs")] == [2, 4, 6]
    assert {sheet.size for sheet in sheets} == {(1260, 42 + 3 * 172)}
    truth = (0, 0, 340, sheets[0].height)  # the columns "original" and "masked"
    rebuilt = (344, 0, 690, sheets[0].height)
    assert len({sheet.crop(truth).tobytes() for sheet in sheets}) == 1
    assert len({sheet.crop(rebuilt).tobytes() for sheet in sheets}) == 3


def test_a_panel_that_fails_is_counted_and_said_once(
    small_scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = state_of(train(small_scenes, tmp_path / "off", *BATCH, updates=3))

    def full(rows: Any) -> Image.Image:
        torch.rand(3)
        raise OSError("No space left on device")

    monkeypatch.setattr(panels, "draw_sheet", full)
    on = tmp_path / "on"
    with caplog.at_level(logging.WARNING):
        assert state_of(train(small_scenes, on, *BATCH, *watched(on, 1), updates=3)) == expected
    said = [record.getMessage() for record in caplog.records if "No space left" in record.getMessage()]
    assert len(said) == 1
    assert "panels of update 1 failed, and training goes on: OSError" in said[0]
    assert [event.value for event in events(on, "train").Scalars("failed_panels")] == [3]


def test_without_the_split_no_panels_are_drawn_and_it_is_said_once(
    small_scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train(small_scenes, tmp_path, *BATCH, *watched(tmp_path, 1), "--valid-subset", "absent", updates=3)
    said = [record.getMessage() for record in caplog.records if "no panels are drawn" in record.getMessage()]
    assert len(said) == 1
    assert "absent" in said[0]
    assert "--valid-subset train" in said[0]
    train(small_scenes, tmp_path / "own", *BATCH, *watched(tmp_path / "own", 1), "--valid-subset", "train")
    assert len(events(tmp_path / "own").Images("pairs")) == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--autocast", "bf16"],
        ["--checkpoint-activations", "all"],
        ["--feature-cache-chunk", 5],
        ["--visible-patches-only"],
        ["--batch-size", 1, "--itm-weight", 0],
    ],
    ids=lambda options: options[0],
)
def test_panels_go_with_other_options(options: list[Any], small_scenes: Path, tmp_path: Path) -> None:
    on, off = tmp_path / "on", tmp_path / "off"
    expected = state_of(train(small_scenes, off, *BATCH, *options))
    assert state_of(train(small_scenes, on, *BATCH, *options, *watched(on, 1))) == expected
    found = events(on)
    assert len(found.Images("pairs")) == 2
    missing = {name for name in GRADIENTS if name.endswith("itm")} if "--itm-weight" in options else set()
    assert set(found.Tags()["scalars"]) == SCALARS - missing


def test_panels_of_retrieval_have_its_losses_and_the_encoders_that_are_trained(
    small_scenes: Path, tmp_path: Path
) -> None:
    options = ["--texts-per-image", 1, "--frozen-modules", "image_encoder", *watched(tmp_path)]
    train(small_scenes, tmp_path, *BATCH, *options, task="vl_retrieval")
    names = {name for name in events(tmp_path).Tags()["scalars"] if name.startswith("gradient_norm")}
    assert names == {"gradient_norm/text_encoder/itc", "gradient_norm/text_encoder/itm"}


@pytest.mark.parametrize("option", [("--panel-interval", -1), ("--panel-pairs", 0)])
def test_options_out_of_range_are_refused(option: tuple[str, int], small_scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{option[0]} {option[1]} must be at least"):
        train(small_scenes, tmp_path, *option)
