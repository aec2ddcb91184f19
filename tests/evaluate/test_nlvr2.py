"""mvlm-eval nlvr2 on a few statements, with a model that says what the test wants."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mvlm_plugin.data.store import PairStore
from mvlm_plugin.evaluate.nlvr2 import COMMAND
from mvlm_plugin.evaluation.pair_table import mean_and_error
from mvlm_plugin.tasks.vl_nlvr2 import VlNlvr2Config, VlNlvr2Task
from tests.evaluate.classifiers import options, prepare_nlvr2, prepare_tsv, say

DEV = [
    ("dev-1-0-0", "both are red", "True"),
    ("dev-1-1-0", "both are red", "False"),
    ("dev-1-0-1", "one is blue", "True"),
    ("dev-2-0-0", "both are red", "False"),
    ("dev-2-1-0", "both are red", "False"),
]
Speaker = Callable[..., VlNlvr2Task]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    train = [("train-1-0-0", "both are red", "True"), ("train-2-0-0", "one is blue", "False")]
    test = [("test1-1-0-0", "both are red", None), ("test1-1-1-0", "both are red", None)]
    return prepare_nlvr2(tmp_path / "nlvr2", {"train": train, "dev": DEV, "test": test})


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    def make(data: Path, *false: str, name: str = "vl_nlvr2") -> VlNlvr2Task:
        """Says False of the given identifiers and True of all else."""

        def choose(store: PairStore, text: int) -> str:
            return str((store.fields(text) or {}).get("identifier") not in false)

        return say(monkeypatch, VlNlvr2Task, VlNlvr2Config(data=str(data), seed=1), name, choose)

    return make


def test_accuracy_and_consistency_by_sentence(data: Path, speaker: Speaker) -> None:
    # Wrong in the fourth only: sentence 0 of set 1 and sentence 1 of set 1 are consistent, sentence 0 of set 2 is not.
    speaker(data, "dev-1-1-0", "dev-2-1-0")
    report = COMMAND.run(options(data, subset="dev"))
    correct = torch.tensor([1, 1, 1, 0, 1], dtype=torch.float64)
    # Texts 0 to 2 share photos (pair 0 of set 1) or the sentence, texts 3 and 4 the sentence.
    mean, error = mean_and_error(correct, torch.tensor([0, 0, 0, 1, 1]))
    assert report.figures == {
        "accuracy": pytest.approx(mean), "accuracy_se": pytest.approx(error), "consistency": pytest.approx(2 / 3),
        "sentences": 3,
    }  # fmt: skip
    assert report.protocol["labelled_texts"] == 5
    assert "identifier" in report.protocol["consistency_by"]


def test_the_official_file_has_a_line_a_statement(data: Path, speaker: Speaker, tmp_path: Path) -> None:
    speaker(data, "test1-1-1-0", "dev-1-1-0")
    path = tmp_path / "test.csv"
    with pytest.raises(ValueError, match="--predictions FILE"):
        COMMAND.run(options(data, subset="test"))
    report = COMMAND.run(options(data, subset="test", predictions=str(path)))
    assert report.figures == {}
    assert "no figure" in report.text
    assert path.read_text() == "test1-1-0-0,True\ntest1-1-1-0,False\n"
    COMMAND.run(options(data, subset="dev", predictions=str(path)))
    said = {identifier: "False" if identifier == "dev-1-1-0" else "True" for identifier, *_ in DEV}
    assert sorted(path.read_text().splitlines()) == [
        f"{identifier},{word}" for identifier, word in sorted(said.items())
    ]


def test_without_identifiers_equal_texts_are_one_sentence(tmp_path: Path, speaker: Speaker) -> None:
    rows = [
        ("a.png", "train", "one box has a circle", "true"), ("b.png", "train", "all are blue", "false"),
        ("c.png", "valid", "one box has a circle", "true"), ("d.png", "valid", "one box has a circle", "false"),
        ("e.png", "valid", "all are blue", "true"),
    ]  # fmt: skip
    data = prepare_tsv(tmp_path / "nlvr", rows)
    speaker(data)
    report = COMMAND.run(options(data))
    assert report.figures["accuracy"] == pytest.approx(2 / 3)
    assert report.figures["consistency"] == 0.5
    assert report.figures["sentences"] == 2
    assert "equal texts" in report.protocol["consistency_by"]
    with pytest.raises(ValueError, match=r"without an identifier .*mvlm-prep nlvr2"):
        COMMAND.run(options(data, predictions=str(tmp_path / "p.csv")))
    assert not (tmp_path / "p.csv").exists()


def test_an_identifier_that_is_there_twice_cannot_be_written(tmp_path: Path, speaker: Speaker) -> None:
    twice = [DEV[0], DEV[0]]
    data = prepare_nlvr2(tmp_path / "nlvr2", {"train": [("train-1-0-0", "both are red", "True")], "dev": twice})
    speaker(data)
    with pytest.raises(ValueError, match="more than once"):
        COMMAND.run(options(data, subset="dev", predictions=str(tmp_path / "p.csv")))


def test_a_checkpoint_of_another_task_is_refused_with_the_fix(data: Path, speaker: Speaker) -> None:
    speaker(data, name="vl_vqa")
    with pytest.raises(ValueError, match=r"of task vl_vqa, .* --task vl_nlvr2"):
        COMMAND.run(options(data, subset="dev"))
