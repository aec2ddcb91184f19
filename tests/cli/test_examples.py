"""The recipes and every command of the documentation, run as they stand but for their size."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import ROOT, run, shell_path
from tests.cli.documents import (
    DOCUMENTS,
    ELSEWHERE,
    PYTHON_GUIDE,
    blocks,
    documented_commands,
    in_folder,
    run_document,
    smaller,
)
from tests.cli.workplace import make_workplace

RUN_HERE = [
    document
    for document in DOCUMENTS
    if document not in ELSEWHERE and {block.language for block in blocks(document)} & {"bash", "python"}
]


@pytest.fixture
def workplace(tmp_path: Path, scenes: Path) -> Path:
    """A folder with what the documents speak of."""
    make_workplace(tmp_path, scenes)
    return tmp_path


@pytest.mark.parametrize("document", RUN_HERE)
def test_every_documented_command_runs(document: str, workplace: Path, trained: tuple[Path, str]) -> None:
    (workplace / "checkpoint.pt").symlink_to(trained[0] / "checkpoint_last.pt")
    run_document(document, workplace)


def test_the_python_guide_finds_photos_and_rebuilds_them(workplace: Path, trained: tuple[Path, str]) -> None:
    (workplace / "checkpoints").symlink_to(trained[0])
    assert re.search(r"0\.\d{3}  photos/[abc]\.jpg", run_document(PYTHON_GUIDE, workplace))
    assert (workplace / "dog.png").exists()


def test_the_documented_commands_leave_what_they_promise(workplace: Path) -> None:
    for line in documented_commands("README.md")[:4]:
        in_folder(workplace, smaller(line))
    assert (workplace / "checkpoints" / "checkpoint_last.pt").exists()
    assert Image.open(workplace / "reconstructions.png").height > 600


def test_quickstart_ends_with_a_table_and_pictures(tmp_path: Path) -> None:
    script = ROOT / "examples" / "quickstart" / "run.sh"
    output = run(["bash", str(script)], PATH=shell_path(), OUT=str(tmp_path), UPDATES="3", PAIRS="160")
    assert "on 20 unseen pairs" in output
    for title in ("masked words predicted right", "loss saved by the right image", "caption finds its image first"):
        assert re.search(rf"{title}.*\d\.\d{{4}}", output)
    assert Image.open(tmp_path / "reconstructions.png").width > 1000
    assert list((tmp_path / "tensorboard").rglob("events.*"))


def test_quickstart_fails_with_the_log_when_training_fails(tmp_path: Path) -> None:
    script = ROOT / "examples" / "quickstart" / "run.sh"
    # The log file cannot be opened: a folder is in its place.
    (tmp_path / "train.log").mkdir()
    output = run(["bash", str(script)], expect=1, PATH=shell_path(), OUT=str(tmp_path), UPDATES="3", PAIRS="160")
    assert "IsADirectoryError" in output
    assert "unseen pairs" not in output


def test_grounding_ends_with_pointing_accuracy_and_maps_and_zero_shot_takes_its_checkpoint(tmp_path: Path) -> None:
    small = {"PATH": shell_path(), "OUT": str(tmp_path), "UPDATES": "3", "PAIRS": "160"}
    output = run(["bash", str(ROOT / "examples" / "grounding" / "run.sh")], **small)
    assert re.search(r"all +\d+\.\d +\d+\.\d", output)
    assert len(list((tmp_path / "maps").glob("*.png"))) == 8
    pointing = json.loads((tmp_path / "pointing.json").read_text())
    assert pointing["protocol"]["updates"] == 3
    assert "patches 8 x 8" in pointing["protocol"]["maps"]
    assert pointing["pointing"]["all"]["reachable"] == 1.0
    captions = (tmp_path / "short" / "captions.tsv").read_text().splitlines()
    assert len(captions) == 120
    assert all(re.search(r"\ta (small |large )?\w+ \w+( on a \w+ background)?$", line) for line in captions)
    assert "training for" not in run(["bash", str(ROOT / "examples" / "zero_shot" / "run.sh")], **small)
    for score in ("itc", "itm"):
        figures = json.loads((tmp_path / f"zero_shot_{score}.json").read_text())
        assert figures["protocol"]["score"] == score
        assert set(figures) == {"protocol", "colour", "shape", "background"}
