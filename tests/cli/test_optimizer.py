"""adamw_parts on the real command line: rates over the schedule, resuming, and the averaged weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.commands import command, logged, run, train_command, validate_command
from tests.helpers import assert_same_tensors

UPDATES, WARMUP = 6, 2
LR, FLOOR = 3e-4, 6e-5
RATES = {"lr": LR, "lr_image_encoder": 1e-5, "lr_text_encoder": 2e-5}


def train(data: Path, folder: Path, *options: object) -> list[str]:
    """fairseq-train with the recipe's optimizer and schedule, and an average of the weights."""
    rates = ["--lr", LR, "--image-encoder-lr", RATES["lr_image_encoder"], "--text-encoder-lr", RATES["lr_text_encoder"]]
    adamw = ["--optimizer", "adamw_parts", *rates, "--weight-decay", 0.05, "--adamw-betas", "(0.9, 0.98)"]
    schedule = ["--lr-scheduler", "cosine", "--warmup-updates", WARMUP, "--min-lr", FLOOR, "--clip-norm", 1]
    saving = ["--weight-ema", 0.8, "--save-interval-updates", 3, "--disable-validation"]
    return train_command(data, folder, *adamw, *schedule, *saving, *options, updates=UPDATES, batch=8)


@pytest.fixture(scope="module")
def whole(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Checkpoints and log of a run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, logged(run(train(scenes, folder)), "train_inner")


def rate_of(update: int) -> float:
    """The rate of an update, the first being 1: from the floor up to LR, then along a cosine to the floor."""
    done = update - 1
    if done < WARMUP:
        return FLOOR + (LR - FLOOR) * done / WARMUP
    return FLOOR + (LR - FLOOR) * (1 + math.cos(math.pi * (done - WARMUP) / (UPDATES - WARMUP))) / 2


def test_the_schedule_is_warmup_and_cosine_for_every_part(whole: tuple[Path, list[dict[str, Any]]]) -> None:
    log = whole[1]
    assert len(log) == UPDATES
    # fairseq logs the rate of the next update. After the last one it logs the start of another, smaller cosine.
    for update, entry in enumerate(log[:-1], start=2):
        for name, peak in RATES.items():
            assert float(entry[name]) == pytest.approx(peak / LR * rate_of(update), rel=1e-3)
    assert float(log[-1]["lr"]) == pytest.approx(0.1 * LR)
    groups = torch.load(whole[0] / "checkpoint_last.pt", weights_only=True)["last_optimizer_state"]["param_groups"]
    assert {(group["part"], group["lr"] / groups[0]["lr"]) for group in groups} == {
        (part, RATES[name] / LR)
        for part, name in (("main", "lr"), ("image_encoder", "lr_image_encoder"), ("text_encoder", "lr_text_encoder"))
    }
    assert {group["weight_decay"] for group in groups} == {0.0, 0.05}
    assert {group["betas"] for group in groups} == {(0.9, 0.98)}


def test_a_resumed_run_equals_the_whole_one(
    whole: tuple[Path, list[dict[str, Any]]], scenes: Path, tmp_path: Path
) -> None:
    folder, log = whole
    resumed = logged(run(train(scenes, tmp_path, "--restore-file", folder / "checkpoint_1_3.pt")), "train_inner")
    timing = ("wps", "ups", "train_wall", "wall")
    assert [{k: v for k, v in entry.items() if k not in timing} for entry in resumed] == [
        {k: v for k, v in entry.items() if k not in timing} for entry in log[3:]
    ]
    before, after = (torch.load(path / "checkpoint_last.pt", weights_only=True) for path in (folder, tmp_path))
    assert_same_tensors(after["model"], before["model"], 0.0)
    states = [checkpoint["last_optimizer_state"]["state"] for checkpoint in (before, after)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert {"exp_avg", "exp_avg_sq", "step", "weight_ema"} == state.keys()
        assert_same_tensors(states[1][index], state, 0.0)


def test_the_average_becomes_a_model_that_validates(
    whole: tuple[Path, list[dict[str, Any]]], scenes: Path, tmp_path: Path
) -> None:
    averaged = tmp_path / "ema.pt"
    run(command("python", "-m", "mvlm_plugin.ema", "--path", whole[0] / "checkpoint_last.pt", "--out", averaged))
    loss = float(logged(run(validate_command(scenes, averaged)), "test")[0]["test_loss"])
    assert loss == pytest.approx(float(whole[1][-1]["loss"]), rel=0.3)
