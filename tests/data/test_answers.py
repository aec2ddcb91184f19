from pathlib import Path

import pytest

from mvlm_plugin.data.answers import Labels, find_field, frequent_answers, label_scores
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.vqa_accuracy import answer_accuracy
from tests.labelled_databin import texts, write_labelled

TEN = ["two", "2", "Two.", "three", "three", "3", "3", "four", "a dog", "cat"]


def test_one_answer_is_taken_without_regard_to_case() -> None:
    assert label_scores(" True ") == {"true": 1.0}
    assert label_scores(2) == {"2": 1.0}


@pytest.mark.parametrize("label", [None, "", []])
def test_no_label_has_no_scores(label: object) -> None:
    assert label_scores(label) == {}


def test_ten_answers_have_the_official_scores() -> None:
    scores = label_scores(TEN)
    # Of ten people's answers, 3 say "2", 4 say "3", and three others stand alone: min(1, 0.3 x count).
    assert scores == pytest.approx({"2": 0.9, "3": 1.0, "4": 0.3, "dog": 0.3, "cat": 0.3})
    assert scores == pytest.approx({answer: answer_accuracy(answer, TEN) for answer in scores})


@pytest.mark.parametrize("people", [["yes"], ["yes", "no"], ["yes", "yes", "no", "maybe"]])
def test_fewer_answers_have_the_official_scores_too(people: list[str]) -> None:
    assert label_scores(people) == pytest.approx({answer: answer_accuracy(answer, people) for answer in set(people)})


def test_frequent_answers_count_texts_not_people() -> None:
    # "red" is what most people say of two texts; "blue" of one, though more people say it in all.
    labels = [["red", "red", "blue"], ["red"], ["blue"] * 9, "green", "Green", "green", None, "amber"]
    assert frequent_answers(labels, 10, 1) == ["green", "red", "amber", "blue"]
    assert frequent_answers(labels, 2, 1) == ["green", "red"]
    assert frequent_answers(labels, 10, 2) == ["green", "red"]


def test_labels_of_closed_classes() -> None:
    labels = Labels(["False", "True"], "label", is_open=False)
    assert labels.scores({"label": "TRUE"}) == {1: 1.0}
    assert labels.scores({"label": ""}) == labels.scores(None) == {}
    assert labels.has_label({"label": "false"})
    assert not labels.has_label({"other": "false"})
    with pytest.raises(DataBinError, match=r"label 'perhaps' of field 'label' is none of False, True.*--label-field"):
        labels.scores({"label": "perhaps"})


def test_labels_of_open_classes_leave_out_what_is_no_class() -> None:
    labels = Labels(["3", "2"], "answers", is_open=True)
    assert labels.scores({"answers": TEN}) == pytest.approx({0: 1.0, 1: 0.9})
    assert labels.scores({"answers": ["nine"]}) == {}
    assert labels.has_label({"answers": ["nine"]})


def test_the_field_is_the_one_asked_for_or_the_first_usual_one(tmp_path: Path) -> None:
    store = PairStore(write_labelled(tmp_path, {"train": texts(4)}), "train")
    assert find_field(store, "", ("answers", "label")) == "label"
    assert find_field(store, "label", ("answers",)) == "label"
    assert find_field(store, "answers", ("label",)) == ""
    assert find_field(store, "", ("answers",)) == ""
