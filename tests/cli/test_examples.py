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
    GROUNDING,
    PYTHON_GUIDE,
    ZERO_SHOT,
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


def test_the_readmes_commands_leave_what_they_promise(workplace: Path, trained: tuple[Path, str]) -> None:
    (workplace / "checkpoint.pt").symlink_to(trained[0] / "checkpoint_last.pt")
    run_document("README.md", workplace)
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


def test_grounding_ends_with_pointing_accuracy_and_maps_and_zero_shot_takes_its_checkpoint(workplace: Path) -> None:
    output = "".join(in_folder(workplace, smaller(line)) for line in documented_commands(GROUNDING))
    folder = workplace / "runs" / "grounding"
    assert re.search(r"all +\d+\.\d +\d+\.\d", output)
    assert len(list((folder / "maps").glob("*.png"))) == 8
    pointing = json.loads((folder / "pointing.json").read_text())
    assert pointing["protocol"]["updates"] == 2
    assert "patches 8 x 8" in pointing["protocol"]["maps"]
    assert pointing["pointing"]["all"]["reachable"] == 1.0
    captions = (folder / "short" / "captions.tsv").read_text().splitlines()
    assert len(captions) == 120
    assert all(re.search(r"\ta (small |large )?\w+ \w+( on a \w+ background)?$", line) for line in captions)
    output = "".join(in_folder(workplace, smaller(line)) for line in documented_commands(ZERO_SHOT))
    assert "training for" not in output
    for score in ("itc", "itm"):
        figures = json.loads((folder / f"zero_shot_{score}.json").read_text())
        assert figures["protocol"]["score"] == score
        assert set(figures) == {"protocol", "colour", "shape", "background"}
