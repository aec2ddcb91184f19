"""Image pipelines on the command line, with an operation of another user-dir."""

from pathlib import Path

import pytest

from tests.cli.commands import command, logged, run, train_command

EXTENSION = """
import numpy as np

from mvlm_plugin import RgbImage, register_image_operation


@register_image_operation("drop_channel", is_random=True)
def drop_channel(p=0.1):
    def apply(image, draw):
        if draw.rng.random() >= p:
            return image
        pixels = image.array.copy()
        pixels[..., draw.rng.integers(3)] = 0
        return RgbImage(pixels)

    return apply
"""


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    folder = tmp_path / "my_operations"
    folder.mkdir()
    (folder / "__init__.py").write_text(EXTENSION)
    return folder


def test_pipelines_train_and_validate(scenes: Path, extension: Path, tmp_path: Path) -> None:
    train = "decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)|drop_channel(0.5)"
    options = ["--user-dir", extension, "--train-transform", train, "--num-workers", 2]
    options += ["--eval-transform", "decode|resize({size})|center_crop({size})"]
    log = run(train_command(scenes, tmp_path / "save", *options, updates=2))
    assert len(logged(log, "train_inner")) == 2
    arguments = [scenes, "--user-dir", extension, "--task", "joint_masked_vl", "--batch-size", 64, "--cpu"]
    arguments += ["--path", tmp_path / "save" / "checkpoint_last.pt", "--valid-subset", "test", "--log-format", "json"]
    assert float(logged(run(command("fairseq-validate", *arguments)), "test")[0]["test_bad_images"]) == 0
