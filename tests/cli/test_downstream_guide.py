"""Every command of docs/downstream.md and of the downstream recipes' pages, on small data."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.documents import (
    DOWNSTREAM_GUIDE,
    PRETRAINED,
    RECIPES_ON_PRETRAINED,
    documented_commands,
    run_document,
)
from tests.cli.workplace import COLOURS, make_workplace


def _write_tables(folder: Path) -> None:
    """Questions, hypotheses and statements on the workplace's pictures, as the documents name them."""
    lines = {"questions": [], "hypotheses": [], "statements": []}
    labels = ("entailment", "neutral", "contradiction")
    for i in range(24):
        lines["questions"].append(f"{i}.png\twhat colour is it\t{COLOURS[i % 8]}\n")
        lines["hypotheses"].append(f"{i}.png\tit is {COLOURS[(i + i % 2) % 8]}\t{labels[i % 3]}\n")
        lines["statements"].append(f"{i}.png\tit is {COLOURS[(i + i % 2) % 8]}\t{str(i % 2 == 0).lower()}\n")
    for name, content in lines.items():
        (folder / f"{name}.tsv").write_text("".join(content))
    for name in ("snli_ve", "daquar", "nlvr"):
        (folder / name).mkdir()
    # Of nine of the pictures, so that pre-training without them has some left.
    explained = [line.replace("\n", "\tbecause it is seen\n") for line in lines["hypotheses"][:9]]
    (folder / "snli_ve" / "pairs.tsv").write_text("".join(explained))
    (folder / "daquar" / "train.tsv").write_text("".join(f"images/{line}" for line in lines["questions"]))
    shutil.copytree(folder / "images", folder / "daquar" / "images")
    for i in range(12):
        Image.new("RGB", (90, 30), COLOURS[i % 8]).save(folder / "nlvr" / f"dev-{i // 2}-0-{i % 2}.png")
    statements = [f"dev-{i // 2}-0-{i % 2}.png\tit is {COLOURS[i % 8]}\t{str(i % 2 == 0).lower()}\n" for i in range(12)]
    (folder / "nlvr" / "dev.tsv").write_text("".join(statements))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Path:
    """What the documents speak of, a checkpoint of examples/flickr8k_lite included."""
    folder = tmp_path_factory.mktemp("downstream")
    make_workplace(folder, scenes)
    _write_tables(folder)
    run_document(PRETRAINED, folder)
    return folder


def test_the_recipe_that_others_start_from_leaves_a_checkpoint(workplace: Path) -> None:
    assert documented_commands(PRETRAINED)
    assert (workplace / "runs" / "flickr8k_lite" / "checkpoints" / "checkpoint_last.pt").exists()


def test_every_command_of_the_downstream_guide_runs(workplace: Path) -> None:
    run_document(DOWNSTREAM_GUIDE, workplace)
    for name in ("retrieval", "vqa", "nlvr2", "entailment"):
        assert '"protocol"' in (workplace / f"{name}.json").read_text()
    assert len(list((workplace / "maps").iterdir())) == 4


@pytest.mark.parametrize("recipe", RECIPES_ON_PRETRAINED)
def test_every_command_of_a_downstream_recipe_runs(recipe: str, workplace: Path) -> None:
    document = f"examples/{recipe}/README.md"
    assert any(f"examples/{recipe}/run.sh" in line for line in documented_commands(document))
    run_document(document, workplace)
    assert list((workplace / "runs" / recipe).rglob("checkpoint_last.pt"))
