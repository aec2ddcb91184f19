"""Small data-bins of the classification tasks, and a classifier that says what a test wants."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from data_prep.cli import main as prepare
from mvlm_plugin.evaluate import judged
from mvlm_plugin.evaluate.logits import Predictions
from tests.helpers import colour, tiny_config


def write_photo(path: Path, number: int) -> None:
    """A photo of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), colour(number)).save(path)


def prepare_tsv(folder: Path, rows: Sequence[tuple[str, str, str, str]], field: str = "label") -> Path:
    """Data-bin of rows (image, split, text, label); the images are made."""
    for number, image in enumerate(dict.fromkeys(row[0] for row in rows)):
        write_photo(folder / image, number)
    lines = "".join(f"{image}\t{text}\t{label}\n" for image, _, text, label in rows)
    (folder / "captions.tsv").write_text(lines)
    splits = dict.fromkeys(f"{image}\t{split}\n" for image, split, *_ in rows)
    (folder / "splits.tsv").write_text("".join(splits))
    run_prepare(
        "tsv", "--captions", folder / "captions.tsv", "--splits", folder / "splits.tsv", "--images", folder,
        "--fields", field, "--dest", folder / "data-bin",
    )  # fmt: skip
    return folder / "data-bin"


def prepare_vqa(folder: Path, splits: dict[str, list[tuple[int, str, list[str] | None]]]) -> Path:
    """Data-bin of VQA's official files: per split (image, question, the ten answers); None = a split without answers.

    Question ids are 10 * image + place in the split; the answer type is that of the first answer.
    """
    arguments: list[object] = [
        "vqa",
        "--images",
        folder,
        "--image-name",
        "{image_id}.png",
        "--dest",
        folder / "data-bin",
    ]
    for split, rows in splits.items():
        questions, annotations = [], []
        for place, (image, text, answers) in enumerate(rows):
            write_photo(folder / f"{image}.png", image)
            question = {"image_id": image, "question_id": 10 * image + place}
            questions.append({**question, "question": text})
            if answers is not None:
                kinds = {"answer_type": "yes/no" if answers[0] in {"yes", "no"} else "other", "question_type": text[:4]}
                entries = [{"answer": answer, "answer_id": number + 1} for number, answer in enumerate(answers)]
                annotations.append({**question, **kinds, "answers": entries})
        (folder / f"{split}.q.json").write_text(json.dumps({"data_subtype": split, "questions": questions}))
        arguments += ["--questions", f"{split}={folder / f'{split}.q.json'}"]
        if annotations:
            (folder / f"{split}.a.json").write_text(json.dumps({"annotations": annotations}))
            arguments += ["--annotations", f"{split}={folder / f'{split}.a.json'}"]
    run_prepare(*arguments)
    return folder / "data-bin"


def prepare_nlvr2(folder: Path, splits: dict[str, list[tuple[str, str, str | None]]]) -> Path:
    """Data-bin of NLVR2's official files: per split (identifier, sentence, label)."""
    arguments: list[object] = ["nlvr2", "--images", folder, "--dest", folder / "data-bin"]
    for split, rows in splits.items():
        lines = []
        for number, (identifier, sentence, label) in enumerate(rows):
            part, pair = identifier.partition("-")[0], identifier.rpartition("-")[0]
            for side in (0, 1):
                write_photo(folder / part / f"{pair}-img{side}.png", 2 * number + side)
            entry = {"identifier": identifier, "sentence": sentence}
            lines.append(json.dumps(entry if label is None else {**entry, "label": label}))
        (folder / f"{split}.json").write_text("\n".join(lines) + "\n")
        arguments += ["--json", f"{split}={folder / f'{split}.json'}"]
    run_prepare(*arguments)
    return folder / "data-bin"


def run_prepare(*arguments: object) -> None:
    """mvlm-prep in this process."""
    assert prepare([*map(str, arguments), "--vocab-size", "60", "--workers", "1"]) == 0


def say(
    monkeypatch: pytest.MonkeyPatch, task_class: Any, cfg: Any, name: str, choose: Callable[[Any, int], str]
) -> Any:
    """Let mvlm-eval find a checkpoint of a task whose model says choose(store, text), a name of a class.

    Texts come in batches, the last of the split first, each with one bad image.

    Returns the task.
    """
    cfg._name = name
    task = task_class.setup_task(cfg)
    model_cfg = tiny_config()
    model_cfg._name = "mvlm_tiny"
    task.build_model(OmegaConf.structured(model_cfg))

    def predict(model: Any, task: Any, split: str, batch_size: int, device: str) -> Iterator[Predictions]:
        dataset = task.dataset(split)
        for texts in torch.as_tensor(dataset.ordered_indices()).flip(0).split(batch_size):
            chosen = torch.tensor([task.classes.index(choose(dataset.store, int(text))) for text in texts])
            yield Predictions(texts, torch.eye(len(task.classes))[chosen] - 3.0, 1)

    monkeypatch.setattr(judged, "open_checkpoint", lambda path, data: (torch.nn.Identity(), task))
    monkeypatch.setattr(judged, "predict_batches", predict)
    monkeypatch.setattr(judged, "protocol_of", lambda path, task, model, **more: {"checkpoint": path, **more})
    return task


def options(data: Path, **more: Any) -> argparse.Namespace:
    """Parsed options of a command, as its parser gives them."""
    common = {"path": "c.pt", "data": str(data), "subset": "valid", "batch_size": 2, "device": "cpu"}
    return argparse.Namespace(**{**common, "predictions": None, "check": None, "judgements": None, **more})
