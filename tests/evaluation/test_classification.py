import math

import pytest
import torch

from mvlm_plugin.evaluation.classification import (
    confusion,
    consistency,
    linked,
    score,
    scores_by,
    sentence_of,
)
from mvlm_plugin.evaluation.pair_table import mean_and_error


def test_rows_that_share_something_are_one_cluster_also_through_others() -> None:
    clusters = linked([("a",), ("b",), ("c", "a"), ("d", "c"), (), ("b", "e"), ("f",)]).tolist()
    groups = {frozenset(row for row, of in enumerate(clusters) if of == cluster) for cluster in clusters}
    assert groups == {frozenset({0, 2, 3}), frozenset({1, 5}), frozenset({4}), frozenset({6})}


def test_a_late_row_joins_clusters_that_were_apart() -> None:
    assert linked([(1,), (2,), (3,), (4,), (1, 4), (3, 2), (2, 4)]).unique().numel() == 1
    assert linked([]).shape == (0,)


def test_a_score_has_the_error_of_its_clusters() -> None:
    right = torch.tensor([True, True, False, False])
    images = torch.tensor([9, 9, 4, 4])
    # Residuals 1/2, 1/2 and -1/2, -1/2 sum to 1 and -1: sqrt(2 * 2 / 1) / 4
    assert score(right, images) == (0.5, pytest.approx(0.5), 4)
    apart = score(right, torch.arange(4))
    assert apart.error == pytest.approx(math.sqrt(4 * 0.25 * 4 / 3) / 4)
    assert str(apart) == "50.00 ± 28.87 %"


def test_scores_of_kinds_of_rows() -> None:
    values = torch.tensor([1.0, 0.5, 0.0, 1.0, 0.25])
    images = torch.tensor([0, 0, 1, 2, 3])
    found = scores_by(["what", "how", "what", None, "what"], values, images)
    assert list(found) == ["what", "how"]
    assert found["what"].texts == 3
    assert found["what"][:2] == pytest.approx(mean_and_error(values[[0, 2, 4]].double(), images[[0, 2, 4]]))
    assert found["how"].mean == 0.5
    assert math.isnan(found["how"].error)


def test_confusion_has_the_truth_in_rows() -> None:
    truth, predicted = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 0, 0, 2])
    assert confusion(truth, predicted, 3).tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
    assert confusion(truth[:1], predicted[:1], 2).tolist() == [[1, 0], [0, 0]]


def test_a_sentence_is_consistent_when_right_with_all_of_its_images() -> None:
    identifiers = ["dev-7-0-0", "dev-7-1-0", "dev-7-0-1", "dev-7-1-1", "dev-8-0-0", "dev-8-3-0"]
    correct = torch.tensor([True, True, True, False, False, True])
    # Sentence 0 of set 7 is right with pairs 0 and 1; sentence 1 of set 7 and sentence 0 of set 8 are not.
    assert consistency(correct, [sentence_of(name) for name in identifiers]) == (pytest.approx(1 / 3), 3)
    assert consistency(torch.ones(3, dtype=torch.bool), ["a", "b", "a"]) == (1.0, 2)
    assert math.isnan(consistency(torch.zeros(0, dtype=torch.bool), [])[0])


def test_sentence_of_an_identifier() -> None:
    assert sentence_of("train-10171-2-1") == "train-10171-1"
    assert sentence_of("test1-0-1-0") != sentence_of("test1-0-1-1")
    assert [sentence_of(name) for name in ("dev-1572-0", "dev-1-2-3-4", "dev-1-2-3,True", "dev-1-2-\n", "")] == [
        None
    ] * 5
