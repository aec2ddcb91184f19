"""mvlm-eval vqa on a few questions, with a model that says what the test wants."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mvlm_plugin.evaluate.vqa import COMMAND
from mvlm_plugin.evaluation.pair_table import mean_and_error
from mvlm_plugin.tasks.vl_vqa import VlVqaConfig, VlVqaTask
from tests.evaluate.classifiers import options, prepare_tsv, prepare_vqa, say

RED, YES = ["red"] * 4 + ["blue"] * 6, ["yes"] * 7 + ["no"] * 2 + ["maybe"]
QUESTIONS = {
    "train": [(1, "what colour is it", RED), (2, "is it red", YES), (2, "is it blue", ["no"] * 10)],
    # Answered "red": 1; "no": 2 of 10, so 2 people see 1/3 and 8 see 2/3: 0.6; "red": nobody, 0.
    "val": [(3, "what colour is it", RED), (3, "is it red", YES), (4, "what is it", ["a box"] * 10)],
    "test": [(5, "what colour is it", None), (6, "is it red", None)],
}
SAID = {0: "red", 1: "no", 2: "red"}
Speaker = Callable[..., VlVqaTask]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepare_vqa(tmp_path / "vqa", QUESTIONS)


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    def make(data: Path, name: str = "vl_vqa", said: dict[int, str] = SAID) -> VlVqaTask:
        return say(monkeypatch, VlVqaTask, VlVqaConfig(data=str(data), seed=1), name, lambda store, text: said[text])

    return make


def test_figures_are_the_official_accuracy_overall_and_by_kind(data: Path, speaker: Speaker) -> None:
    speaker(data)
    report = COMMAND.run(options(data))
    values = torch.tensor([1.0, 0.6, 0.0], dtype=torch.float64)
    mean, error = mean_and_error(values, torch.tensor([3, 3, 4]))
    assert report.figures["accuracy"] == pytest.approx(mean)
    assert report.figures["accuracy_se"] == pytest.approx(error)
    assert report.figures["answer_type"] == {"other": pytest.approx(0.5), "yes/no": pytest.approx(0.6)}
    assert report.figures["question_type"] == {"what": pytest.approx(0.5), "is i": pytest.approx(0.6)}
    assert report.protocol["texts"] == report.protocol["scored_questions"] == 3
    assert report.protocol["images"] == 2
    assert report.protocol["bad_images"] == 2  # one in each batch of two
    assert report.protocol["answers_per_question"] == "10"
    assert "official accuracy" in report.protocol["metric"]
    assert "accuracy 53.33 ±" in report.text


def test_the_file_for_the_server_holds_every_question(data: Path, speaker: Speaker, tmp_path: Path) -> None:
    speaker(data)
    path = tmp_path / "val.json"
    report = COMMAND.run(options(data, predictions=str(path)))
    assert report.figures["accuracy"] == pytest.approx(1.6 / 3)
    entries = [(30, "red"), (31, "no"), (42, "red")]
    assert json.loads(path.read_text()) == [{"question_id": number, "answer": answer} for number, answer in entries]
    checked = COMMAND.run(options(data, path=None, check=str(path)))
    assert checked.figures == report.figures
    assert "all 3 questions" in checked.text


def test_a_split_without_answers_gives_the_file_and_no_figure(data: Path, speaker: Speaker, tmp_path: Path) -> None:
    speaker(data)
    with pytest.raises(ValueError, match="--predictions FILE"):
        COMMAND.run(options(data, subset="test"))
    path = tmp_path / "test.json"
    report = COMMAND.run(options(data, subset="test", predictions=str(path)))
    assert report.figures == {}
    assert [entry["question_id"] for entry in json.loads(path.read_text())] == [50, 61]
    checked = COMMAND.run(options(data, path=None, subset="test", check=str(path)))
    assert checked.figures == {}
    assert "no figure" in checked.text


def test_a_file_of_another_split_is_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps([{"question_id": number, "answer": "yes"} for number in (50, 61)]))
    with pytest.raises(ValueError, match="lacks 3 of 3 questions"):
        COMMAND.run(options(data, path=None, check=str(path)))


def test_either_a_checkpoint_or_a_file_is_judged(data: Path) -> None:
    for more in ({"path": None}, {"check": "answers.json"}):
        with pytest.raises(ValueError, match="either --path CKPT"):
            COMMAND.run(options(data, **more))
    with pytest.raises(ValueError, match="--check FILE writes no"):
        COMMAND.run(options(data, path=None, check="answers.json", predictions="p.json"))


def test_single_answers_are_matched_exactly(tmp_path: Path, speaker: Speaker) -> None:
    rows = [
        ("a.png", "train", "how many chairs are there", "2"), ("b.png", "train", "what is it", "night stand"),
        ("c.png", "valid", "how many chairs are there", "Two"), ("c.png", "valid", "what is on it", "cup"),
    ]  # fmt: skip
    data = prepare_tsv(tmp_path / "daquar", rows, field="answer")
    speaker(data, said={0: "2", 1: "night stand"})
    report = COMMAND.run(options(data))
    assert report.figures["accuracy"] == 0.5
    assert set(report.figures) == {"accuracy", "accuracy_se"}
    assert "equal to the one answer" in report.protocol["metric"]
    with pytest.raises(ValueError, match=r"2 of 2 questions of split valid .* have no question_id; .*mvlm-prep vqa"):
        COMMAND.run(options(data, predictions=str(tmp_path / "answers.json")))
    assert not (tmp_path / "answers.json").exists()


def test_a_checkpoint_of_another_task_is_refused_with_the_fix(data: Path, speaker: Speaker) -> None:
    speaker(data, name="joint_masked_vl")
    with pytest.raises(ValueError, match=r"of task joint_masked_vl, .* --task vl_vqa --finetune-from-model c.pt"):
        COMMAND.run(options(data))


def test_the_training_split_is_refused(data: Path, speaker: Speaker) -> None:
    speaker(data)
    with pytest.raises(ValueError, match="held-out"):
        COMMAND.run(options(data, subset="train"))
