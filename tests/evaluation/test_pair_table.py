import math

import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.evaluation.pair_table import FIGURES, PairTable, mean_and_error
from mvlm_plugin.evaluation.pretraining import COLUMNS, GroupResult
from mvlm_plugin.evaluation.retrieval import recalls

PAIRS, IMAGES = 20, 9
IMAGE_OF_PAIR = torch.arange(PAIRS) // 2 % 8  # image 8 has no caption


def test_error_of_single_values_is_the_usual_one() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    mean, error = mean_and_error(values, torch.arange(4))
    assert mean == 4.0
    # deviations -3, -2, 0, 5: variance 38 / 3, error sqrt(38 / 3 / 4)
    assert error == pytest.approx(math.sqrt(38 / 12))


def test_values_that_belong_together_count_as_one() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64)
    mean, error = mean_and_error(values, torch.tensor([70, 70, 3, 3]))
    assert mean == 4.0
    # residuals sum to -5 and 5 in the clusters: sqrt(50 * 2 / 1) / 4
    assert error == pytest.approx(math.sqrt(100) / 4)


def test_repeating_every_value_does_not_make_the_error_smaller() -> None:
    values = torch.randn(30, dtype=torch.float64)
    clusters = torch.arange(30)
    once = mean_and_error(values, clusters)
    thrice = mean_and_error(values.repeat(3), clusters.repeat(3))
    assert thrice == pytest.approx(once)


def test_too_few_values_have_no_error() -> None:
    none = mean_and_error(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    assert all(math.isnan(value) for value in none)
    mean, error = mean_and_error(torch.tensor([2.0, 4.0], dtype=torch.float64), torch.tensor([5, 5]))
    assert mean == 3.0
    assert math.isnan(error)


def rows() -> GroupResult:
    """A result of all pairs, with equal embeddings for equal images."""
    figures = torch.rand(PAIRS, len(COLUMNS), dtype=torch.float64)
    figures[:, COLUMNS.index("mlm_masked")] = torch.arange(PAIRS) % 3 + 1.0
    figures[:, COLUMNS.index("itm_pairs")] = 3.0
    figures[:, COLUMNS.index("has_partner")] = (torch.arange(PAIRS) > 3).double()
    images, texts = (F.normalize(torch.randn(PAIRS, 4), dim=1) for _ in range(2))
    return GroupResult(figures, images[IMAGE_OF_PAIR], texts)


def fill(table: PairTable, all_rows: GroupResult, batches: list[list[int]]) -> list[int]:
    return [
        table.add(GroupResult(*(part[batch] for part in all_rows)), torch.tensor(batch), IMAGE_OF_PAIR[batch])
        for batch in batches
    ]


def test_order_batches_and_repetitions_do_not_matter() -> None:
    all_rows = rows()
    reference = PairTable(PAIRS, IMAGES)
    assert fill(reference, all_rows, [list(range(PAIRS))]) == [PAIRS]
    expected = reference.result()
    assert list(expected) != []
    assert expected.keys() == set(FIGURES)
    shuffled = torch.randperm(PAIRS).tolist()
    for batches, new in (
        ([shuffled], [20]),
        ([shuffled[:3], shuffled[3:12], shuffled[12:]], [3, 9, 8]),
        ([shuffled[:11], shuffled[5:15], shuffled[:2], shuffled[10:]], [11, 4, 0, 5]),
    ):
        table = PairTable(PAIRS, IMAGES)
        assert fill(table, all_rows, batches) == new
        assert table.count == PAIRS
        assert table.result() == pytest.approx(expected, abs=1e-12)


def test_figures_by_hand() -> None:
    all_rows = rows()
    column = dict(zip(COLUMNS, all_rows.figures.T, strict=True))
    table = PairTable(PAIRS, IMAGES)
    fill(table, all_rows, [list(range(PAIRS))])
    result = table.result()
    assert result["mlm_loss"] == pytest.approx(column["mlm_loss"].mean().item())
    assert result["mim_loss"] == pytest.approx(column["mim_loss"].mean().item())
    assert result["itc_loss"] == pytest.approx(column["itc_loss"].mean().item())
    assert result["mlm_acc"] == pytest.approx((column["mlm_correct"].sum() / column["mlm_masked"].sum()).item())
    assert result["itm_acc"] == pytest.approx(column["itm_correct"].sum().item() / (3 * PAIRS))
    assert result["itm_loss"] == pytest.approx(column["itm_loss"].sum().item() / (3 * PAIRS))
    # The first four pairs have no partner and tell nothing about a gain.
    mean, error = mean_and_error(column["mlm_gain"][4:], IMAGE_OF_PAIR[4:])
    assert (result["mlm_gain"], result["mlm_gain_se"]) == pytest.approx((mean, error))
    mean, error = mean_and_error(column["mim_gain"][4:], IMAGE_OF_PAIR[4:])
    assert (result["mim_gain"], result["mim_gain_se"]) == pytest.approx((mean, error))
    images = torch.stack([all_rows.image_embeddings[image == IMAGE_OF_PAIR][0] for image in range(8)])
    for name, value in recalls(images, all_rows.text_embeddings, IMAGE_OF_PAIR).items():
        assert result[name] == pytest.approx(value)


def test_only_pairs_seen_so_far_count() -> None:
    all_rows = rows()
    table = PairTable(PAIRS, IMAGES)
    seen = [4, 5, 9, 17]
    fill(table, all_rows, [seen[:2]])
    table.result()
    fill(table, all_rows, [seen[2:]])
    result = table.result()
    assert result["mim_loss"] == pytest.approx(all_rows.figures[seen, COLUMNS.index("mim_loss")].mean().item())
    _, image_of_text = IMAGE_OF_PAIR[seen].unique(return_inverse=True)
    images = torch.stack(
        [all_rows.image_embeddings[image == IMAGE_OF_PAIR][0] for image in IMAGE_OF_PAIR[seen].unique()]
    )
    expected = recalls(images, all_rows.text_embeddings[seen], image_of_text)
    assert {name: result[name] for name in expected} == pytest.approx(expected)


def test_a_group_without_rows_adds_nothing() -> None:
    table = PairTable(PAIRS, IMAGES)
    assert fill(table, rows(), [[1, 2]]) == [2]
    empty = GroupResult(torch.zeros(0, len(COLUMNS), dtype=torch.float64), torch.zeros(0, 4), torch.zeros(0, 4))
    none = torch.zeros(0, dtype=torch.int64)
    assert table.add(empty, none, none) == 0
    assert table.count == 2


def test_a_table_without_rows_has_no_result() -> None:
    with pytest.raises(ValueError, match="no pair"):
        PairTable(3, 2).result()
