"""mvlm-eval zero-shot on generated scenes and on folders, hostile ones too."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from data_prep.scenes.drawing import BACKGROUNDS, COLOURS
from mvlm_plugin.data.tokenizers import load_tokenizer
from mvlm_plugin.evaluate import zero_shot
from mvlm_plugin.evaluate.command import main
from mvlm_plugin.evaluation.scenes import read_scenes
from mvlm_plugin.models.mvlm import MvlmModel
from tests.cli.commands import command, run


@pytest.fixture
def checkpoint(trained: tuple[Path, str]) -> str:
    return str(trained[0] / "checkpoint_last.pt")


@pytest.fixture
def colour_counter(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that counts pixels of the colours that a prompt names, and knows nothing else."""
    tokenizer = load_tokenizer(scenes)

    def count(model: MvlmModel, image: Tensor, tokens: Tensor, prompts: int) -> Tensor:
        pixels = image.view(len(image), 3, -1)
        scores = torch.zeros(len(image), len(tokens))
        for column, ids in enumerate(tokens.tolist()):
            for word in tokenizer.decode(ids).split():
                rgb = {**COLOURS, **BACKGROUNDS}.get(word)
                if rgb:
                    difference = (pixels - torch.tensor(rgb)[None, :, None]).abs().amax(dim=1)
                    scores[:, column] += (difference < 1).sum(dim=1)
        return scores.view(len(image), -1, prompts).mean(dim=2)

    def as_features(model: MvlmModel, normalized: Tensor) -> Tensor:
        return model.normalize.undo(normalized).float().flatten(1)

    monkeypatch.setattr(MvlmModel, "encode_image", as_features)
    monkeypatch.setitem(zero_shot._SCORES, "itc", count)


def evaluate(tmp_path: Path, *options: object) -> dict[str, Any]:
    file = tmp_path / "figures.json"
    assert main(["zero-shot", *map(str, options), "--device", "cpu", "--json", str(file)]) == 0
    return json.loads(file.read_text())


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Sub-folders red and dark_blue with 3 and 2 pictures of that colour."""
    for name, rgb, count in (("red", COLOURS["red"], 3), ("dark_blue", COLOURS["blue"], 2)):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (40, 30), rgb).save(tmp_path / "animals" / name / f"{number}.png")
    return tmp_path / "animals"


def test_scenes_are_asked_what_has_one_answer(
    checkpoint: str, scenes: Path, tmp_path: Path, colour_counter: None
) -> None:
    result = evaluate(tmp_path, "--path", checkpoint, "--data", scenes, "--batch-size", 40)
    facts = read_scenes(scenes, "test", 60)
    assert result["background"]["top1"] == 1.0
    # The right colour is one of at most three in the picture; the others have no pixel.
    assert result["colour"]["top5"] == 1.0
    assert 0.3 < result["colour"]["top1"] < 0.7
    assert result["shape"]["top1"] == 0.0
    shapes = [[item.shape for item in scene.objects] for scene in facts]
    assert result["colour"]["asked"] == sum(names.count(name) == 1 for names in shapes for name in names)
    assert result["background"]["asked"] == result["protocol"]["images"] == 60
    assert result["protocol"]["unknown_prompts"] == 0
    assert {"a {} circle", "a red {}", "a {} background"} <= set(result["protocol"]["prompts"])
    confusion = torch.tensor(result["colour"]["confusion"])
    assert confusion.shape == (8, 8)
    assert confusion.sum() == result["colour"]["asked"]


@pytest.mark.parametrize("score", ["itc", "itm"])
def test_a_models_figures_do_not_depend_on_the_batch(checkpoint: str, scenes: Path, tmp_path: Path, score: str) -> None:
    options = ("--path", checkpoint, "--data", scenes, "--subset", "valid", "--score", score)
    large = evaluate(tmp_path, *options, "--batch-size", 512)
    small = evaluate(tmp_path, *options, "--batch-size", 7)
    assert large["protocol"]["score"] == score
    for topic in ("colour", "shape", "background"):
        assert large[topic]["top1"] == pytest.approx(small[topic]["top1"], abs=0.04)
        assert large[topic]["asked"] == small[topic]["asked"]


def test_a_folder_has_a_class_a_sub_folder(
    checkpoint: str, scenes: Path, animals: Path, tmp_path: Path, colour_counter: None
) -> None:
    common = ("--path", checkpoint, "--data", scenes, "--images", animals)
    result = evaluate(tmp_path, *common)
    assert result["classes"]["per_class"] == {"dark blue": 1.0, "red": 1.0}
    assert result["protocol"]["prompts"] == ["a photo of a {}"]
    more = evaluate(tmp_path, *common, "--classes", "green,red,dark blue", "--prompt", "a {}", "--prompt", "Ω {}")
    assert more["classes"]["chance"] == pytest.approx(1 / 3)
    assert more["classes"]["confusion"] == [[0, 0, 0], [0, 3, 0], [0, 0, 2]]
    assert more["protocol"]["unknown_prompts"] == 3  # of three classes; no caption has that letter


def test_hostile_files_are_counted(
    checkpoint: str, scenes: Path, animals: Path, tmp_path: Path, colour_counter: None
) -> None:
    (animals / "red" / "empty.png").write_bytes(b"")
    (animals / "red" / "text.jpg").write_text("no picture")
    (animals / "red" / "folder.png").mkdir()
    whole = (animals / "red" / "0.png").read_bytes()
    (animals / "dark_blue" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (animals / "dark_blue" / "nowhere.png").symlink_to("missing")
    os.mkfifo(animals / "dark_blue" / "pipe.png")
    Image.new("1", (20_000, 20_000)).save(animals / "dark_blue" / "bomb.png")
    result = evaluate(tmp_path, "--path", checkpoint, "--data", scenes, "--images", animals)
    assert (result["protocol"]["images"], result["protocol"]["bad_images"]) == (12, 7)
    assert result["classes"]["asked"] == 5
    assert result["classes"]["top1"] == 1.0


def _remove_pictures(folder: Path) -> None:
    for path in folder.glob("*/*"):
        path.unlink()


def _spoil_pictures(folder: Path) -> None:
    for path in folder.glob("*/*"):
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, ("--prompt", "a picture"), "has no {} for the class"),
        (None, ("--classes", "red,green"), "sub-folder 'dark blue' of"),
        (None, ("--classes", "red"), "not two or more classes"),
        (None, ("--classes", "red,red,dark blue"), "not two or more classes"),
        (_remove_pictures, (), "are empty"),
        (_spoil_pictures, (), "none of the pictures can be read"),
        (shutil.rmtree, (), "No such file"),
    ],
)
def test_a_folder_that_cannot_be_classified_is_told(
    checkpoint: str,
    scenes: Path,
    animals: Path,
    change: Callable[[Path], None] | None,
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if change:
        change(animals)
    arguments = ["zero-shot", "--path", checkpoint, "--data", str(scenes), "--images", str(animals), *options]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_options_of_folders_do_not_go_with_scenes(
    checkpoint: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["zero-shot", "--path", checkpoint, "--data", str(scenes), "--prompt", "a {}"]) == 2
    assert "--classes and --prompt go with --images" in capsys.readouterr().err
    data = Path(shutil.copytree(scenes, tmp_path / "data-bin"))
    (data / "test.scenes.jsonl").unlink()
    assert main(["zero-shot", "--path", checkpoint, "--data", str(data)]) == 2
    assert "only data-bins of mvlm-prep scenes have it" in capsys.readouterr().err


def test_the_command_prints_its_protocol(checkpoint: str, scenes: Path) -> None:
    printed = run(command("mvlm-eval", "zero-shot", "--path", checkpoint, "--data", scenes, "--score", "itm"))
    for line in (
        "stage                   pre-trained only",
        "score                   itm",
        "colour: top-1",
        "chance 12.5",
    ):
        assert line in printed
