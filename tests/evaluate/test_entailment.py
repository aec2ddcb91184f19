"""mvlm-eval entailment on a few hypotheses, with a model that says what the test wants."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mvlm_plugin.evaluate.entailment import COMMAND
from mvlm_plugin.evaluation.pair_table import mean_and_error
from mvlm_plugin.tasks.vl_entailment import VlEntailmentConfig, VlEntailmentTask
from tests.evaluate.classifiers import options, prepare_tsv, say

ROWS = [
    ("a.png", "train", "a dog runs", "entailment"), ("b.png", "train", "a cat sleeps", "contradiction"),
    ("n.png", "valid", "who knows", ""),
    ("c.png", "valid", "a dog runs", "entailment"), ("c.png", "valid", "a cat sleeps", "contradiction"),
    ("d.png", "valid", "the dog is old", "neutral"), ("d.png", "valid", "a dog", "entailment"),
    ("e.png", "valid", "an animal", "entailment"),
]  # fmt: skip
# Of the first nobody knows what is right.
SAID = ["neutral", "entailment", "neutral", "neutral", "contradiction", "entailment"]


def test_accuracy_classes_and_confusions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare_tsv(tmp_path / "ve", ROWS)
    cfg = VlEntailmentConfig(data=str(data), seed=1)
    say(monkeypatch, VlEntailmentTask, cfg, "vl_entailment", lambda store, text: SAID[text])
    report = COMMAND.run(options(data, judgements=str(tmp_path / "judgements.csv")))
    correct = torch.tensor([1, 0, 1, 0, 1], dtype=torch.float64)
    images = torch.tensor([0, 0, 1, 1, 2])
    mean, error = mean_and_error(correct, images)
    assert report.figures["accuracy"] == pytest.approx(mean)
    assert report.figures["accuracy_se"] == pytest.approx(error)
    assert report.figures["recall"] == {"entailment": pytest.approx(2 / 3), "contradiction": 0.0, "neutral": 1.0}
    of_entailment = mean_and_error(correct[[0, 3, 4]], images[[0, 3, 4]])
    assert report.figures["recall_se"]["entailment"] == pytest.approx(of_entailment[1])
    classes = report.figures["confusion"]["classes"]
    counts = report.figures["confusion"]["truth_by_judgement"]
    taken = {(a, b): counts[i][j] for i, a in enumerate(classes) for j, b in enumerate(classes) if counts[i][j]}
    assert taken == {
        ("entailment", "entailment"): 2, ("entailment", "contradiction"): 1, ("contradiction", "neutral"): 1,
        ("neutral", "neutral"): 1,
    }  # fmt: skip
    assert report.protocol["labelled_texts"] == 5
    assert report.protocol["texts"] == 6
    assert report.protocol["images"] == 4
    assert "accuracy 60.00 ±" in report.text
    # The text without a label is left out; c.png and d.png have two texts each.
    rows = [line.split(",") for line in (tmp_path / "judgements.csv").read_text().splitlines()]
    assert rows[0] == ["text", "cluster", "score"]
    assert [(text, score) for text, _, score in rows[1:]] == [
        ("1", "1"),
        ("2", "0"),
        ("3", "1"),
        ("4", "0"),
        ("5", "1"),
    ]
    assert [row[1] == other[1] for row, other in pairwise(rows[1:])] == [True, False, True, False]


def test_a_split_without_labels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare_tsv(tmp_path / "ve", ROWS, field="colour")
    say(
        monkeypatch, VlEntailmentTask, VlEntailmentConfig(data=str(data), seed=1), "vl_entailment", lambda *_: "neutral"
    )
    with pytest.raises(ValueError, match=r"no text of split valid .* has a label"):
        COMMAND.run(options(data))
