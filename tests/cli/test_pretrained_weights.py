"""Pre-trained weights through the real commands: train, look into the checkpoint, go on without the files, validate."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary

from tests.cli.commands import logged, run, train_command, validate_command
from tests.interop.sources import hf_vit, save_fairseq_roberta

# So slow that the weights after training are those before it.
STILL = ["--lr", "1e-9", "--disable-validation"]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def sources(scenes: Path, transformers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with roberta/model.pt for the scenes' dictionary and vit/ for images of 48 pixels."""
    folder = tmp_path_factory.mktemp("sources")
    dictionary = Dictionary.load(str(scenes / "dict.txt"))
    dictionary.add_symbol("<mask>")
    save_fairseq_roberta(folder / "roberta", dictionary)
    hf_vit(transformers, image_size=48, patch_size=16).save_pretrained(folder / "vit")
    return folder


def test_a_run_from_pretrained_weights_goes_on_without_them(scenes: Path, sources: Path, tmp_path: Path) -> None:
    files, save = tmp_path / "files", tmp_path / "save"
    shutil.copytree(sources, files)
    text = ["--text-encoder-weights", files / "roberta" / "model.pt", "--fusion-from-text-encoder"]
    image = ["--image-encoder-weights", files / "vit"]
    log = run(train_command(scenes, save, *text, *image, *STILL, updates=2))
    assert "cross-modality blocks start from the last blocks of the text encoder: image_stream and text_stream" in log
    first = load(save / "checkpoint_last.pt")
    theirs = load(files / "roberta" / "model.pt")["model"]["encoder.sentence_encoder.layers.3.fc2.weight"]
    for name in ("text_encoder.blocks.3", "fusion.text_stream.blocks.1", "fusion.image_stream.blocks.1"):
        torch.testing.assert_close(first["model"][f"{name}.feed_forward.2.weight"], theirs, atol=1e-6, rtol=0)
    assert first["model"]["image_encoder.position_embedding"].shape == (1, 17, 128)
    assert first["model"]["image_encoder.norm_eps"] == 1e-12
    records = first["task_state"]["pretrained"]
    assert records["text_encoder"]["format"] == "fairseq RoBERTa"
    assert all(len(record["sha256"]) == 64 and record["sha256"] in log for record in records.values())

    shutil.rmtree(files)
    gone = run(train_command(scenes, save, *text, *STILL, updates=3), expect=1)
    assert "leave --text-encoder-weights away" in gone
    log = run(train_command(scenes, save, *STILL, updates=3))
    assert [int(update["num_updates"]) for update in logged(log, "train_inner")] == [3]
    last = load(save / "checkpoint_last.pt")
    assert last["task_state"]["pretrained"] == records
    assert last["model"]["image_encoder.norm_eps"] == 1e-12
    assert float(logged(run(validate_command(scenes, save / "checkpoint_last.pt")), "test")[0]["test_pairs"]) == 60

    larger = tmp_path / "larger"
    options = ["--finetune-from-model", save / "checkpoint_last.pt", "--image-size", 96, "--max-text-tokens", 24]
    run(train_command(scenes, larger, *options, *STILL, updates=1, batch=4))
    assert load(larger / "checkpoint_last.pt")["model"]["image_encoder.position_embedding"].shape == (1, 37, 128)


def test_a_mismatch_is_an_error_in_full_and_can_be_allowed(scenes: Path, sources: Path, tmp_path: Path) -> None:
    content = load(sources / "roberta" / "model.pt")
    model = content["model"]
    model["encoder.sentence_encoder.spam"] = torch.zeros(2)
    del model["encoder.sentence_encoder.layers.2.fc1.bias"]
    model["encoder.sentence_encoder.layers.0.fc2.bias"] = torch.zeros(3)
    torch.save(content, tmp_path / "model.pt")
    shutil.copy(sources / "roberta" / "dict.txt", tmp_path)
    problems = [
        "unexpected: encoder.sentence_encoder.spam (2,)",
        "missing: blocks.2.feed_forward.0.bias (512,)",
        "wrong shape: blocks.0.feed_forward.2.bias is (3,) in the file, (128,) in the model",
    ]
    arguments = train_command(scenes, tmp_path / "save", "--text-encoder-weights", tmp_path / "model.pt", *STILL)
    log = run(arguments, expect=1)
    assert "3 mismatches with --text-encoder roberta_tiny" in log
    assert all(problem in log for problem in problems)
    assert not (tmp_path / "save" / "checkpoint_last.pt").exists()
    log = run([*arguments, "--allow-weight-mismatch", "--max-update", "1"])
    assert all(f"mismatch allowed: {problem}" in log for problem in problems)
