"""A small data-bin of scenes and a checkpoint trained on it for a few updates, made once by the real commands."""

from pathlib import Path

import pytest

from tests.cli.commands import command, run, train_command


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data-bin of 480 scenes: 360 train, 60 valid, 60 test."""
    folder = tmp_path_factory.mktemp("scenes") / "data-bin"
    run(command("mvlm-prep", "scenes", "--dest", folder, "--pairs", 480, "--seed", 1))
    return folder


@pytest.fixture(scope="session")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of checkpoints of a run of 4 updates with TensorBoard, and the run's log."""
    folder = tmp_path_factory.mktemp("trained")
    log = run(train_command(scenes, folder, "--tensorboard-logdir", folder / "tensorboard"))
    return folder, log
