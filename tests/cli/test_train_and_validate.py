"""The main job by its commands: train, validate, look."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvlm_plugin.evaluation.pair_table import FIGURES
from tests.cli.commands import command, logged, run, train_command, validate_command

Trained = tuple[Path, str]
LOSSES = ("mlm_loss", "mim_loss", "itc_loss", "itm_loss")


@pytest.fixture(scope="module")
def figures(scenes: Path, trained: Trained) -> dict[str, str]:
    return logged(run(validate_command(scenes, trained[0] / "checkpoint_last.pt")), "test")[0]


def test_training_logs_every_loss_and_accuracy(trained: Trained) -> None:
    updates = logged(trained[1], "train_inner")
    assert [int(update["num_updates"]) for update in updates] == [1, 2, 3, 4]
    for update in updates:
        losses = [float(update[key]) for key in LOSSES]
        assert float(update["loss"]) == pytest.approx(sum(losses), abs=1e-4)
        assert all(0 <= float(update[key]) <= 1 for key in ("mlm_acc", "itc_acc", "itm_acc"))
        assert float(update["temperature"]) == pytest.approx(0.07, abs=0.01)
        # 16 images, 60 % of 16 blocks of one patch each.
        assert float(update["mim_masked"]) == 16 * 10
        assert float(update["mlm_masked"]) >= 16


def test_validation_reports_all_figures_under_the_subsets_name(figures: dict[str, str]) -> None:
    assert {f"test_{name}" for name in FIGURES} <= set(figures)
    assert float(figures["test_pairs"]) == 60
    values = {name: float(figures[f"test_{name}"]) for name in FIGURES}
    assert all(math.isfinite(value) for value in values.values())
    assert all(0 <= values[name] <= 1 for name in FIGURES if name.endswith("acc") or "2" in name)
    assert values["mlm_gain_se"] > 0
    assert values["mim_gain_se"] > 0


def test_validation_is_the_same_twice_and_for_any_batch_size(
    scenes: Path, trained: Trained, figures: dict[str, str]
) -> None:
    again = run(validate_command(scenes, trained[0] / "checkpoint_last.pt", "--num-workers", 2, batch=7))
    assert logged(again, "test")[0] == figures


def test_training_validates_with_the_same_figures_as_the_command(scenes: Path, trained: Trained) -> None:
    in_training = logged(trained[1], "valid")[-1]
    output = run(validate_command(scenes, trained[0] / "checkpoint_last.pt", "--valid-subset", "valid"))
    for name in FIGURES:
        assert in_training[f"valid_{name}"] == logged(output, "valid")[0][f"valid_{name}"], name


def test_val_is_another_name_of_valid(scenes: Path, trained: Trained) -> None:
    output = run(validate_command(scenes, trained[0] / "checkpoint_last.pt", "--valid-subset", "val"))
    assert float(logged(output, "val")[0]["val_pairs"]) == 60


def test_tensorboard_gets_the_scalars(trained: Trained) -> None:
    events = EventAccumulator(str(trained[0] / "tensorboard" / "train_inner"))
    events.Reload()
    assert {*LOSSES, "mlm_acc", "itm_acc", "temperature"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("mlm_loss")] == [1, 2, 3, 4]


def test_reconstruct_draws_a_row_a_pair(scenes: Path, trained: Trained, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["--path", trained[0] / "checkpoint_last.pt", "--data", scenes, "--out", sheet]
    run(command("mvlm-reconstruct", *arguments, "--count", 2))
    two = Image.open(sheet).size
    run(command("mvlm-reconstruct", *arguments, "--count", 3))
    assert Image.open(sheet).size == (two[0], two[1] + 172)
    assert list(tmp_path.iterdir()) == [sheet]


def test_a_checkpoint_that_would_run_code_is_refused(scenes: Path, trained: Trained, tmp_path: Path) -> None:
    state = torch.load(trained[0] / "checkpoint_last.pt", weights_only=False)
    state["extra_state"]["trap"] = _Trap(tmp_path / "sprung")
    torch.save(state, tmp_path / "hostile.pt")
    output = run(validate_command(scenes, tmp_path / "hostile.pt"), expect=None)
    assert "would run code when it is loaded and is refused" in output
    assert not (tmp_path / "sprung").exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_unknown_component_lists_the_choices(scenes: Path, tmp_path: Path) -> None:
    output = run(train_command(scenes, tmp_path, "--image-encoder", "vit_tiny_patch9"), expect=1)
    assert "unknown image encoder 'vit_tiny_patch9'" in output
    assert "vit_tiny_patch8" in output


def test_components_are_composed_by_name(scenes: Path, tmp_path: Path) -> None:
    options = ["--image-encoder", "vit_mini_patch16", "--text-encoder", "roberta_mini", "--image-decoder", "linear"]
    options += ["--image-mask-block", 32, "--image-mask-ratio", 0.5, "--mask-both", "--fusion-layers", 1]
    log = run(train_command(scenes, tmp_path, *options, "--disable-validation", updates=2))
    # 16 images, half of 4 blocks of 4 patches each.
    assert float(logged(log, "train_inner")[0]["mim_masked"]) == 16 * 2 * 4


def test_a_weight_of_zero_leaves_the_objective_out(scenes: Path, tmp_path: Path) -> None:
    log = run(train_command(scenes, tmp_path, "--mim-weight", 0, "--itm-weight", 0, "--disable-validation", updates=1))
    update = logged(log, "train_inner")[0]
    assert "mlm_loss" in update
    assert not {"mim_loss", "itm_loss", "itm_acc", "mim_masked"} & set(update)


def test_images_that_went_bad_after_preparation_are_counted_and_stood_in_for(scenes: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(scenes, damaged)
    container = damaged / "train.images.bin"
    with open(container, "r+b") as file:
        file.truncate(container.stat().st_size * 3 // 4)
        file.seek(20_000)
        file.write(bytes(2000))
    options = ["--disable-validation", "--max-bad-fraction", 1]
    log = run(train_command(damaged, tmp_path / "save", *options, updates=8, batch=32))
    updates = logged(log, "train_inner")
    assert len(updates) == 8
    assert all(float(update["bsz"]) == 32 for update in updates)
    # A quarter of the images is gone: 256 samples cannot miss them all, and none counts one that is whole.
    assert 30 < sum(float(update["bad_images"]) for update in updates) < 150
    assert "another stands in" in log
    assert "train.images.bin is truncated" in log
    assert "checksum differs" in log


def test_missing_data_bin_says_how_to_make_one(tmp_path: Path) -> None:
    output = run(train_command(tmp_path, tmp_path / "save"), expect=1)
    assert "mvlm-prep" in output
