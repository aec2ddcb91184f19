"""The first of two processes draws panels while the other goes on: neither waits for ever, and both train the same."""

from pathlib import Path

from tests.cli.commands import run_two_ranks, train_command
from tests.test_same_twice import state_of


def test_two_ranks_train_the_same_with_panels_and_without(small_scenes: Path, tmp_path: Path) -> None:
    # Hard negatives and the contrastive loss ask all processes; a panel must not.
    options = ["--image-size", 32, "--image-encoder", "vit_tiny_patch8", "--fusion-layers", 1, "--global-negatives"]
    options += ["--disable-validation"]
    panels = ["--tensorboard-logdir", tmp_path / "tensorboard", "--panel-interval", 1]
    states = []
    for name, more in (("on", panels), ("off", [])):
        run_two_ranks(train_command(small_scenes, tmp_path / name, *options, *more, updates=3, batch=8))
        states.append(state_of(tmp_path / name / "checkpoint_last.pt"))
    assert states[0] == states[1]
    assert len(list((tmp_path / "tensorboard" / "panels").iterdir())) == 1
