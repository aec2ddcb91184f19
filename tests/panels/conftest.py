"""A small data-bin of generated scenes, with its tokenizer."""

from pathlib import Path

import pytest

from data_prep.cli import main


@pytest.fixture(scope="session")
def small_scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 scenes of 32 pixels: 120 train, 20 valid, 20 test."""
    folder = tmp_path_factory.mktemp("scenes") / "data-bin"
    arguments = ["scenes", "--dest", folder, "--pairs", 160, "--image-size", 32, "--seed", 1, "--workers", 1]
    assert main(list(map(str, arguments))) == 0
    return folder
