"""Plain predictors of masked patches: what they see, and figures by hand."""

import json
from pathlib import Path

import pytest
import torch

from examples.study.features import CaptionsOfImages, untrained_model
from examples.study.patch_colours import Network, Photos, constant_colour, main, measure


@pytest.mark.parametrize("text_width", [0, 5])
@torch.no_grad()
def test_a_network_sees_what_is_visible_and_perhaps_the_caption(text_width: int) -> None:
    torch.manual_seed(0)
    network = Network(4, text_width).eval()
    colours, texts = torch.randn(2, 4, 3), torch.randn(2, 5)
    mask = torch.tensor([[True, False, False, True]] * 2)
    found = network(colours, mask, texts)
    hidden, shown = colours.clone(), colours.clone()
    hidden[:, 0] += 1.0
    shown[:, 1] += 1.0
    assert torch.equal(network(hidden, mask, texts), found)
    assert not torch.equal(network(shown, mask, texts), found)
    assert torch.equal(network(colours, mask, texts + 1), found) == (text_width == 0)


def test_losses_of_photos_of_few_colours_by_hand(scenes: Path) -> None:
    model, _ = untrained_model("mvlm_tiny", 64, str(scenes), 1)
    # Two photos of one colour each: normalised values are linear in the bytes.
    pixels = torch.full((2, 3, 64, 64), 100, dtype=torch.uint8)
    pixels[1] = 200
    photos = Photos(pixels, torch.zeros(2, 4), CaptionsOfImages.of(torch.tensor([0, 1]), 2))
    networks = {"without": Network(16, 0), "with": Network(16, 4)}
    step = (model.normalize(pixels[1:]) - model.normalize(pixels[:1]))[0, :, 0, 0]
    figures = measure(model, photos, model.normalize(pixels[:1])[0, :, 0, 0], networks)
    assert figures["one colour for all photos"] == pytest.approx(float(step.mean()) / 2, rel=1e-4)
    assert figures["mean colour of what is visible"] == pytest.approx(0.0, abs=1e-5)
    assert figures["each patch's own mean colour"] == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(constant_colour(model, photos), model.normalize(pixels[:1])[0, :, 0, 0])


def test_the_command_writes_every_seed_and_their_mean(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "colours.json"
    words = ["--data", str(scenes), "--subset", "test", "--arch", "mvlm_tiny", "--image-size", "64", "--seeds", "2"]
    assert main([*words, "--epochs", "3", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    first, second = written["seeds"]
    names = list(first)
    assert names[0] == "one colour for all photos"
    assert first[names[0]] == second[names[0]]
    assert first[names[2]] != second[names[2]]
    assert written["mean"][names[2]] == pytest.approx((first[names[2]] + second[names[2]]) / 2)
    # What knows each patch's colour is best, and one that has learnt beats a constant.
    assert first[names[-1]] < first[names[2]] < first[names[0]]
    printed = capsys.readouterr().out.splitlines()
    assert all(f"{written['mean'][name]:.4f}" in line for name, line in zip(names, printed, strict=True))
    assert main(["--data", str(tmp_path), "--out", str(out)]) == 2
