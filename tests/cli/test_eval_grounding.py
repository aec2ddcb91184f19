"""mvlm-eval grounding on generated scenes, and on pictures without boxes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from data_prep.scenes.drawing import COLOURS
from mvlm_plugin.data.tokenizers import load_tokenizer
from mvlm_plugin.evaluate import grounding
from mvlm_plugin.evaluate.command import main
from mvlm_plugin.evaluation.grounding import WordMap
from mvlm_plugin.evaluation.scenes import read_scenes
from tests.cli.commands import command, run

PATCH = 4


@pytest.fixture
def checkpoint(trained: tuple[Path, str]) -> str:
    return str(trained[0] / "checkpoint_last.pt")


@pytest.fixture
def all_knowing(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps as of a model that knows colours and nothing else: the share of a patch's pixels that have the colour."""
    tokenizer = load_tokenizer(scenes)

    def colour_maps(model: Any, ours: Any, pixels: Tensor, tokens: Tensor, **options: Any) -> list[list[WordMap]]:
        return [
            [WordMap(word, colour_map(picture, word)) for word in tokenizer.decode(ids).split()]
            for picture, ids in zip(pixels, tokens.tolist(), strict=True)
        ]

    monkeypatch.setattr(grounding, "caption_maps", colour_maps)


def colour_map(picture: Tensor, word: str) -> Tensor:
    if word not in COLOURS:
        return torch.zeros(picture.size(-1) // PATCH, picture.size(-1) // PATCH)
    same = (picture == torch.tensor(COLOURS[word])[:, None, None]).all(dim=0).float()
    return same.unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH).mean(dim=(2, 3))


def evaluate(tmp_path: Path, *options: object) -> dict[str, Any]:
    file = tmp_path / "figures.json"
    assert main(["grounding", *map(str, options), "--device", "cpu", "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_who_knows_colours_points_at_them_and_at_nothing_else(
    checkpoint: str, scenes: Path, tmp_path: Path, all_knowing: None
) -> None:
    figures = evaluate(tmp_path, "--path", checkpoint, "--data", scenes, "--batch-size", 25)["pointing"]
    assert figures["colour"]["accuracy"] > 0.97
    assert figures["colour"]["other_picture"] < 0.3
    assert figures["colour"]["chance"] < figures["colour"]["owner"] <= figures["colour"]["accuracy"]
    for kind in ("size", "shape"):
        assert figures[kind]["accuracy"] == figures[kind]["owner"] == 0
    objects = sum(len(scene.objects) for scene in read_scenes(scenes, "test", 60))
    assert [figures[kind]["words"] for kind in ("all", "size", "colour", "shape")] == [3 * objects] + [objects] * 3


def test_a_model_is_judged_under_a_protocol_and_draws_sheets(checkpoint: str, scenes: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "maps", tmp_path / "figures.json"
    printed = run(
        command(
            "mvlm-eval", "grounding", "--path", checkpoint, "--data", scenes, "--out", out, "--count", 2, "--json", file
        )
    )  # fmt: skip
    result = json.loads(file.read_text())
    protocol, figures = result["protocol"], result["pointing"]
    assert protocol["stage"] == "pre-trained only"
    assert (protocol["captions"], protocol["bad_images"], protocol["subset"]) == (60, 0, "test")
    assert protocol["maps"] == "Grad-CAM for prediction, text block 1, patches 4 x 4"
    assert "centre of the map's largest patch" in protocol["hit"]
    for line in ("very object", "by chance", "could be hit", "wrote 2 sheets"):
        assert line in printed
    assert 0 < figures["all"]["chance"] < figures["all"]["reachable"] < 1
    assert figures["all"]["accuracy"] <= figures["all"]["reachable"]
    sheets = sorted(out.iterdir())
    assert [sheet.name for sheet in sheets] == ["000000.png", "000001.png"]
    assert Image.open(sheets[0]).width > 900


def test_a_picture_that_cannot_be_read_is_left_out_and_counted(
    checkpoint: str, scenes: Path, tmp_path: Path, all_knowing: None
) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "data-bin"))
    container = next(data.glob("test.images*.bin"))
    content = bytearray(container.read_bytes())
    content[40:60] = bytes(20)  # of the first picture
    container.write_bytes(content)
    result = evaluate(tmp_path, "--path", checkpoint, "--data", data)
    assert result["protocol"]["bad_images"] == 1
    assert result["protocol"]["captions"] == 59
    assert result["pointing"]["colour"]["accuracy"] > 0.97


def test_pictures_without_boxes_give_sheets_only(
    checkpoint: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "data-bin"))
    (data / "test.scenes.jsonl").unlink()
    options = ["grounding", "--path", checkpoint, "--data", str(data), "--device", "cpu"]
    assert main(options) == 2
    assert "give --out FOLDER for pictures" in capsys.readouterr().err
    result = evaluate(tmp_path, *options[1:5], "--out", tmp_path / "maps", "--count", 3)
    assert "pointing" not in result
    assert len(list((tmp_path / "maps").iterdir())) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--layer", 2), "layer 2 is not one of 0 to 1"),
        (("--by", "matching", "--layer", 1), "layer 1 is not one of 0 to 0"),
        (("--count", 0), "--count must be at least 1"),
        (("--subset", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_done_is_told(
    checkpoint: str, scenes: Path, options: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grounding", "--path", checkpoint, "--data", str(scenes), *map(str, options)]) == 2
    assert message in capsys.readouterr().err


def test_scenes_of_another_number_than_pictures_are_refused(
    checkpoint: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "data-bin"))
    lines = (data / "test.scenes.jsonl").read_text().splitlines(keepends=True)
    (data / "test.scenes.jsonl").write_text("".join(lines[1:]))
    assert main(["grounding", "--path", checkpoint, "--data", str(data)]) == 2
    assert "59 lines for 60 images" in capsys.readouterr().err
