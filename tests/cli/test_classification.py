"""The classification tasks by the real commands: from a pre-training checkpoint, on pictures of one colour."""

import itertools
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.commands import command, logged, run, run_two_ranks, train_command

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30)}
QUESTIONS = ("what colour is it", "which colour do you see")


def _write_source(folder: Path, split_sizes: dict[str, int]) -> list[object]:
    """Pictures, two questions about each and the answers; returns options of mvlm-prep tsv."""
    (folder / "images").mkdir(parents=True)
    numbers = itertools.count()
    captions, splits = [], []
    for split, size in split_sizes.items():
        for _ in range(size):
            number = next(numbers)
            name = f"images/{number}.png"
            answer = list(COLOURS)[number % 3]
            rgb = tuple(channel + number % 20 for channel in COLOURS[answer])
            Image.new("RGB", (48, 16), rgb).save(folder / name)
            splits.append(f"{name}\t{split}\n")
            truth = "true" if answer == "red" else "false"
            captions += [f"{name}\t{question}\t{answer}\t{truth}\n" for question in QUESTIONS]
    (folder / "captions.tsv").write_text("".join(captions))
    (folder / "splits.tsv").write_text("".join(splits))
    return [
        "--captions", folder / "captions.tsv", "--splits", folder / "splits.tsv", "--images", folder,
        "--fields", "answer,label",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def databin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 pictures with two questions each to train on, 30 held out."""
    folder = tmp_path_factory.mktemp("colours")
    options = _write_source(folder / "source", {"train": 96, "valid": 30})
    run(command("mvlm-prep", "tsv", *options, "--dest", folder / "data-bin", "--workers", 1))
    return folder / "data-bin"


@pytest.fixture(scope="module")
def pretrained(databin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of two updates of pre-training, with pictures of 32 pixels."""
    folder = tmp_path_factory.mktemp("pretrained")
    options = ["--image-size", 32, "--disable-validation"]
    run(train_command(databin, folder, *options, updates=2, batch=16))
    return folder / "checkpoint_last.pt"


def _train(
    data: Path, folder: Path, *options: object, task: str = "vl_vqa", updates: int = 4, batch: int = 16
) -> list[str]:
    return command(
        "fairseq-train", data, "--user-dir", "mvlm_plugin", "--task", task, "--arch", "mvlm_tiny",
        "--criterion", "vl_classification", "--optimizer", "adamw_parts", "--lr", "1e-3", "--image-encoder-lr", "5e-4",
        "--batch-size", batch, "--max-update", updates, "--save-dir", folder, "--cpu",
        "--log-format", "json", "--log-interval", 1, *options,
    )  # fmt: skip


def _validate(data: Path, checkpoint: Path, subset: str, batch: int = 64) -> dict[str, str]:
    arguments = command(
        "fairseq-validate", data, "--user-dir", "mvlm_plugin", "--task", "vl_vqa", "--path", checkpoint,
        "--valid-subset", subset, "--batch-size", batch, "--cpu", "--log-format", "json",
    )  # fmt: skip
    return logged(run(arguments), subset)[0]


@pytest.fixture(scope="module")
def finetuned(databin: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and log of 4 updates from the pre-training checkpoint, with larger pictures, in bfloat16."""
    folder = tmp_path_factory.mktemp("finetuned")
    options = ["--finetune-from-model", pretrained, "--autocast", "bf16", "--num-workers", 1]
    return folder, run(_train(databin, folder, *options, "--texts-per-image", 2))


def test_finetuning_says_what_was_loaded_and_what_is_new(finetuned: tuple[Path, str], pretrained: Path) -> None:
    folder, log = finetuned
    line = next(line for line in log.splitlines() if "values loaded" in line)
    for part in ("new: head", "image_decoder (", "mlm_head (", "matching ("):
        assert part in line
    before, after = (
        torch.load(path, weights_only=True)["model"] for path in (pretrained, folder / "checkpoint_last.pt")
    )
    # 32 pixels in patches of 16 and the pooled token; 64 pixels.
    assert before["image_encoder.position_embedding"].shape[1] == 5
    assert after["image_encoder.position_embedding"].shape[1] == 17
    assert not {name.partition(".")[0] for name in after} & {"image_decoder", "mlm_head", "matching"}
    # Four updates at 1e-3 change a weight by 4e-3 at most: what was not loaded differs by more.
    name = "text_encoder.blocks.0.feed_forward.0.weight"
    assert 0 < (before[name] - after[name]).abs().max() < 0.01


def test_validation_of_the_checkpoint_agrees_with_that_of_the_training(
    databin: Path, finetuned: tuple[Path, str]
) -> None:
    folder, log = finetuned
    during = logged(log, "valid")[-1]
    after = _validate(databin, folder / "checkpoint_last.pt", "valid", batch=7)
    assert after["valid_labelled"] == during["valid_labelled"] == "60"
    for name in ("valid_loss", "valid_accuracy"):
        assert float(after[name]) == pytest.approx(float(during[name]), abs=2e-3)


def test_a_databin_without_training_data_is_judged_by_the_classes_of_the_checkpoint(
    databin: Path, finetuned: tuple[Path, str], tmp_path: Path
) -> None:
    options = _write_source(tmp_path / "source", {"test": 7})
    held_out = tmp_path / "data-bin"
    run(command("mvlm-prep", "tsv", *options, "--dest", held_out, "--workers", 1, "--tokenizer-from", databin))
    figures = _validate(held_out, finetuned[0] / "checkpoint_last.pt", "test")
    assert figures["test_labelled"] == "14"
    assert 0 <= float(figures["test_accuracy"]) <= 1


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(databin: Path, pretrained: Path, tmp_path: Path) -> None:
    options = ["--finetune-from-model", pretrained, "--disable-validation", "--texts-per-image", 2]
    folder = tmp_path / "whole"
    whole = run(_train(databin, folder, *options, "--save-interval-updates", 5, updates=16))
    (tmp_path / "resumed").mkdir()
    (folder / "checkpoint_1_5.pt").rename(tmp_path / "resumed" / "checkpoint_last.pt")
    resumed = run(_train(databin, tmp_path / "resumed", *options, updates=16))
    assert "values loaded" in whole
    assert "values loaded" not in resumed
    # 12 batches an epoch: the stop lies in the first, the end in the second.
    losses = [update["loss"] for update in logged(whole, "train_inner")]
    assert [update["loss"] for update in logged(resumed, "train_inner")] == losses[5:]
    assert len(losses) == 16


def test_going_on_with_other_answers_is_refused(databin: Path, finetuned: tuple[Path, str], tmp_path: Path) -> None:
    state = torch.load(finetuned[0] / "checkpoint_last.pt", weights_only=True)
    for where in (state["task_state"], state["extra_state"]["VlVqaTask"]):
        where["classes"] = list(reversed(where["classes"]))
    torch.save(state, tmp_path / "checkpoint_last.pt")
    output = run(_train(databin, tmp_path, updates=8), expect=1)
    assert "cannot resume: the data give other classes than the checkpoint has (in another order)" in output


def test_two_processes_train_and_validate_as_one(databin: Path, pretrained: Path, tmp_path: Path) -> None:
    # 60 held-out texts in batches of 16: rank 0 has two batches, rank 1 the same, the last of which is smaller.
    start = ["--finetune-from-model", pretrained, "--label-smoothing", 0.1]
    two = run_two_ranks(_train(databin, tmp_path / "two", *start, updates=3, batch=8))[0]
    one = run(_train(databin, tmp_path / "one", *start, updates=3, batch=16))
    for ours, theirs in zip(logged(two, "train_inner"), logged(one, "train_inner"), strict=True):
        assert float(ours["bsz"]) == float(theirs["bsz"]) == 16
        for name in ("loss", "accuracy", "gnorm"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3)
    ours, theirs = logged(two, "valid")[-1], logged(one, "valid")[-1]
    assert float(ours["valid_labelled"]) == float(theirs["valid_labelled"]) == 60
    assert float(ours["valid_loss"]) == pytest.approx(float(theirs["valid_loss"]), rel=1e-3)
    assert float(ours["valid_accuracy"]) == pytest.approx(float(theirs["valid_accuracy"]), abs=1e-5)


def test_answers_are_learned_from_the_images_and_not_without(databin: Path, pretrained: Path, tmp_path: Path) -> None:
    start = ["--finetune-from-model", pretrained, "--image-size", 32]
    accuracy = {}
    for name, more in (("seeing", []), ("blind", ["--shuffled-images"])):
        log = run(_train(databin, tmp_path / name, *start, *more, updates=25, batch=32))
        accuracy[name] = float(logged(log, "valid")[-1]["valid_accuracy"])
    assert accuracy["seeing"] > 0.95
    # One in three, but for chance: five standard errors of 60 answers.
    assert accuracy["blind"] < 1 / 3 + 5 * (2 / 9 / 60) ** 0.5


def test_sentences_about_the_parts_of_an_image(databin: Path, pretrained: Path, tmp_path: Path) -> None:
    options = ["--finetune-from-model", pretrained, "--image-parts", 3, "--image-size", 32]
    log = run(_train(databin, tmp_path, *options, task="vl_nlvr2", updates=2))
    assert logged(log, "valid")[-1]["valid_labelled"] == "60"
    head = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)["model"]["head.layers.0.weight"]
    assert head.shape == (2 * 128, 3 * (3 * 128 + 128))
