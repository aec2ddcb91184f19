"""mvlm-eval vqa, nlvr2 and entailment on checkpoints that fairseq-train wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import PLUGIN, command, run
from tests.evaluate.classifiers import prepare_nlvr2, prepare_tsv, prepare_vqa

COLOURS = ["red", "blue", "green"]


def train(data: Path, task: str, save_dir: Path) -> Path:
    """Two updates of a tiny classifier; returns the checkpoint."""
    run(
        command(
            "fairseq-train", data, *PLUGIN[:2], "--task", task, "--arch", "mvlm_tiny", "--image-encoder",
            "vit_tiny_patch8", "--image-size", 32, "--criterion", "vl_classification", "--optimizer", "adam",
            "--lr", "1e-3", "--batch-size", 4, "--max-update", 2, "--save-dir", save_dir, "--cpu",
            "--disable-validation", "--no-epoch-checkpoints",
        )
    )  # fmt: skip
    return save_dir / "checkpoint_last.pt"


def evaluate(name: str, checkpoint: Path, data: Path, subset: str, *more: object) -> tuple[str, dict[str, Any]]:
    """What mvlm-eval prints, and its JSON."""
    path = data.parent / f"{name}.{subset}.out.json"
    options = ["--path", checkpoint, "--data", data, "--subset", subset, "--json", path, "--device", "cpu"]
    return run(command("mvlm-eval", name, *options, *more)), json.loads(path.read_text())


def test_vqa_from_training_to_the_file_for_the_server(tmp_path: Path) -> None:
    def asked(first: int, has_answers: bool = True) -> list[tuple[int, str, list[str] | None]]:
        people = [[COLOURS[i % 3]] * (4 + i) + ["black"] * (6 - i) for i in range(6)]
        return [(first + i, "what colour is it", people[i] if has_answers else None) for i in range(6)]

    data = prepare_vqa(tmp_path / "vqa", {"train": asked(0), "val": asked(10), "test": asked(20, has_answers=False)})
    checkpoint = train(data, "vl_vqa", tmp_path / "run")
    output, found = evaluate("vqa", checkpoint, data, "val", "--predictions", tmp_path / "val.json")
    assert "accuracy" in output
    assert found["protocol"]["checkpoint"] == str(checkpoint)
    assert found["protocol"]["scored_questions"] == 6
    assert 0 <= found["accuracy"] <= 1
    answers = json.loads((tmp_path / "val.json").read_text())
    # The list of answers is the official scorer's, so that checking the file finds the same accuracy.
    check = ["--check", tmp_path / "val.json", "--data", data, "--subset", "val", "--json", tmp_path / "check.json"]
    run(command("mvlm-eval", "vqa", *check))
    assert json.loads((tmp_path / "check.json").read_text())["accuracy"] == found["accuracy"]
    assert {entry["answer"] for entry in answers} <= {*COLOURS, "black"}
    output, found = evaluate("vqa", checkpoint, data, "test", "--predictions", tmp_path / "test.json")
    assert set(found) == {"protocol"}
    assert len(json.loads((tmp_path / "test.json").read_text())) == 6
    output = run(command("mvlm-eval", "nlvr2", "--path", checkpoint, "--data", data, "--subset", "val"), expect=2)
    assert "task vl_vqa" in output
    assert "--task vl_nlvr2" in output


def test_nlvr2_with_two_photos(tmp_path: Path) -> None:
    def statements(part: str) -> list[tuple[str, str, str | None]]:
        return [(f"{part}-{i}-{pair}-0", f"both are {COLOURS[i]}", str(pair == 0)) for i in range(3) for pair in (0, 1)]

    data = prepare_nlvr2(tmp_path / "nlvr2", {"train": statements("train"), "dev": statements("dev")})
    checkpoint = train(data, "vl_nlvr2", tmp_path / "run")
    _, found = evaluate("nlvr2", checkpoint, data, "dev", "--predictions", tmp_path / "dev.csv")
    said = dict(line.split(",") for line in (tmp_path / "dev.csv").read_text().splitlines())
    right = {name: said[name] == label for name, _, label in statements("dev")}
    assert found["accuracy"] == pytest.approx(sum(right.values()) / 6)
    both = [right[f"dev-{i}-0-0"] and right[f"dev-{i}-1-0"] for i in range(3)]
    assert found["consistency"] == pytest.approx(sum(both) / 3)
    assert found["protocol"]["images"] == 12


def test_entailment_judges_an_unreadable_image_black(tmp_path: Path) -> None:
    labels = ["entailment", "neutral", "contradiction"]
    rows = [
        (f"{split}{i}.png", split, f"it is {COLOURS[i % 3]}", labels[i % 3])
        for split, count in (("train", 6), ("test", 5))
        for i in range(count)
    ]
    data = prepare_tsv(tmp_path / "ve", rows)
    checkpoint = train(data, "vl_entailment", tmp_path / "run")
    _, found = evaluate("entailment", checkpoint, data, "test")
    assert found["protocol"]["bad_images"] == 0
    assert sum(map(sum, found["confusion"]["truth_by_judgement"])) == 5
    images = data / "test.images.bin"
    size = images.stat().st_size
    images.write_bytes(b"\0" * 60 + images.read_bytes()[60:])
    assert images.stat().st_size == size
    _, found = evaluate("entailment", checkpoint, data, "test")
    assert found["protocol"]["bad_images"] == 1
    assert found["protocol"]["labelled_texts"] == 5
