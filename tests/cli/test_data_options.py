"""Mixtures, fractions and shards through the real commands."""

from pathlib import Path

from mvlm_plugin.checkpoints import open_checkpoint
from tests.cli.commands import logged, run, train_command, validate_command
from tests.helpers import write_databin, write_shards

SMALL = ["--image-size", 32, "--image-encoder", "vit_tiny_patch8", "--image-mask-block", 16]


def test_a_mixture_counts_its_pairs_and_resumes(tmp_path: Path) -> None:
    data = f"{write_databin(tmp_path / 'one')}:{write_shards(tmp_path / 'two', [3, 6])}"
    options = [*SMALL, "--dataset-weights", "2,1", "--num-workers", 1]
    whole = run(train_command(data, tmp_path / "whole", *options, updates=10))
    epochs = logged(whole, "train")
    assert [(int(e["train_pairs_one"]), int(e["train_pairs_two"])) for e in epochs] == [(44, 22), (44, 22)]
    run(train_command(data, tmp_path / "parts", *options, updates=7))
    resumed = logged(run(train_command(data, tmp_path / "parts", *options, updates=10)), "train_inner")
    keys = ("num_updates", "loss", "pairs_one", "pairs_two")
    expected = [[update[key] for key in keys] for update in logged(whole, "train_inner")]
    assert [[update[key] for key in keys] for update in resumed] == expected[-3:]
    checkpoint = tmp_path / "whole" / "checkpoint_last.pt"
    output = run(validate_command(tmp_path / "one", checkpoint, "--valid-subset", "valid"))
    assert int(logged(output, "valid")[-1]["valid_pairs"]) == 48
    _, task = open_checkpoint(str(checkpoint), str(tmp_path / "one"))
    task.load_dataset("train")
    assert len(task.dataset("train")) == 48


def test_a_fraction_and_shards_in_turn(tmp_path: Path) -> None:
    data = write_shards(tmp_path / "sharded", [12, 6])
    output = run(train_command(data, tmp_path / "run", *SMALL, "--data-fraction", 0.5, updates=3, batch=64))
    assert "captions of 6 images from" in output
    assert "captions of 3 images from" in output
    assert "valid: 24 captions of 12 images from" in output
