"""A small source, and a way to prepare it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import Source, write_image

from data_prep.cli import main


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Ten good images of train and valid, with two captions each."""
    made = Source(tmp_path / "raw")
    for number in range(10):
        split = "val" if number >= 8 else "train"
        name = "abcdefgh"[number % 8]
        captions = [f"the dog number {name} runs to a red ball", f"a brown dog and ball number {name}"]
        write_image(made.add(f"{number}.png", split, captions), number)
    return made


@pytest.fixture
def prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Path]:
    """Runs mvlm-prep into tmp_path/NAME and returns that folder; fails with the error message."""

    def run(arguments: list[str], *more: str, name: str = "bin", status: int = 0) -> Path:
        dest = tmp_path / name
        result = main([*arguments, *more, "--dest", str(dest)])
        assert result == status, capsys.readouterr().err
        return dest

    return run
