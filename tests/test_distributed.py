"""Two processes must compute what one does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mvlm_plugin.distributed import gather_rows, gather_sizes, rank, world_size
from mvlm_plugin.evaluation.pair_table import PairTable
from tests import rank_workers
from tests.helpers import assert_same_tensors, gradients, make_criterion


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes gave back."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    return rank_workers.run_ranks(rank_workers.everything, folder)


def test_one_process_gathers_nothing() -> None:
    x = torch.randn(3, 2)
    assert (world_size(), rank()) == (1, 0)
    assert gather_sizes(3, x.device) == [3]
    assert gather_rows(x, [3]) is x


def test_rows_of_all_ranks_come_in_order(ranks: list[dict[str, Any]]) -> None:
    expected = torch.cat([torch.arange(6.0).view(3, 2), 10 + torch.arange(2.0).view(1, 2)])
    for index, result in enumerate(ranks):
        got = result["gathered"]
        assert (got["world"], got["rank"], got["sizes"]) == (2, index, [3, 1])
        assert torch.equal(got["rows"], expected)
        assert got["none"].shape == (0, 2)
        assert torch.equal(got["one_sided"], expected[:3])


def test_the_gradient_of_a_row_is_what_all_ranks_want_of_it(ranks: list[dict[str, Any]]) -> None:
    # Rank r adds (r + 1) * x**2 for every row: 2 * (1 + 2) * x in all.
    for start, result in zip((0, 10), ranks, strict=True):
        gradient = result["gathered"]["gradient"]
        assert torch.equal(gradient, 6 * (torch.arange(float(gradient.numel())).view_as(gradient) + start))


def test_gathering_leaves_other_gradients_alone(ranks: list[dict[str, Any]]) -> None:
    assert all(result["kept"] for result in ranks)


@pytest.fixture(scope="module")
def one_process() -> dict[str, tuple[float, dict[str, torch.Tensor]]]:
    """Loss and gradients a pair of the same pairs in one process."""
    results = {}
    for share, parts in rank_workers.SHARES.items():
        model = rank_workers.build_model()
        loss, size, _ = make_criterion(itm=0)(model, rank_workers.pairs([*parts[0], *parts[1]]))
        loss.backward()
        results[share] = loss.item() / size, {name: value / size for name, value in gradients(model).items()}
    return results


@pytest.mark.parametrize("share", ["even", "uneven"])
def test_two_ranks_give_the_loss_and_gradients_of_one(
    ranks: list[dict[str, Any]], one_process: dict[str, tuple[float, dict[str, torch.Tensor]]], share: str
) -> None:
    first, second = (result[share] for result in ranks)
    size = first["size"] + second["size"]
    loss, expected = one_process[share]
    assert (first["log"]["loss"] + second["log"]["loss"]) / size == pytest.approx(loss, rel=1e-5)
    summed = {name: first["plain"][name] + second["plain"][name] for name in first["plain"]}
    assert_same_tensors(summed, expected, tolerance=1e-5, scale=size)


@pytest.mark.parametrize("share", ["even", "uneven"])
def test_fairseqs_wrapper_gives_the_gradients_of_one(
    ranks: list[dict[str, Any]], one_process: dict[str, tuple[float, dict[str, torch.Tensor]]], share: str
) -> None:
    first, second = (result[share] for result in ranks)
    # The wrapper averages over ranks; fairseq's trainer multiplies by their number and divides by the summed size.
    scale = (first["size"] + second["size"]) / rank_workers.WORLD
    _, expected = one_process[share]
    for result in (first, second):
        used = {name: value for name, value in result["wrapped"].items() if name in expected}
        assert_same_tensors(used, expected, tolerance=1e-5, scale=scale)
        assert all(value.eq(0).all() for name, value in result["wrapped"].items() if name not in expected)


def test_logs_of_ranks_have_the_same_keys(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["uneven"]["log"].keys() == ranks[1]["uneven"]["log"].keys()


def test_every_rank_gets_the_figures_of_all_pairs(ranks: list[dict[str, Any]]) -> None:
    table = PairTable(5, 8)
    ids = torch.arange(5)
    table.add(rank_workers.table_rows(ids), ids, torch.tensor(rank_workers.IMAGE_IDS))
    for result in ranks:
        assert result["table"]["new"] == [5, 0]
        assert result["table"]["result"] == pytest.approx(table.result())


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The steps with global negatives on four processes."""
    return rank_workers.run_ranks(rank_workers.global_steps, tmp_path_factory.mktemp("four"), world=4)


@pytest.mark.parametrize("batch", rank_workers.GLOBAL_BATCHES)
@pytest.mark.parametrize("road", ["", "cached "], ids=["plain", "cached"])
@pytest.mark.parametrize("world", [2, 4])
def test_any_number_of_ranks_draws_the_same_global_negatives(
    ranks: list[dict[str, Any]], four_ranks: list[dict[str, Any]], world: int, road: str, batch: str
) -> None:
    expected = rank_workers.global_step(batch, world=1)
    assert expected["size"] == rank_workers.GLOBAL_BATCHES[batch]
    steps = [result["global"] for result in ranks] if world == 2 else four_ranks
    results = [result[road + batch] for result in steps]
    assert sum(result["size"] for result in results) == expected["size"]
    summed = {name: sum(result["log"][name] for result in results) for name in expected["log"]}
    assert summed == pytest.approx(expected["log"], rel=1e-5)
    total = {name: sum(result["gradients"][name] for result in results) for name in expected["gradients"]}
    assert_same_tensors(total, expected["gradients"], tolerance=1e-5, scale=1.0)


def test_more_pairs_than_a_batch_has_are_refused(ranks: list[dict[str, Any]]) -> None:
    assert [result["refused"] for result in ranks] == [
        f"rank {r} has 3 pairs in a batch; set --batch-size to at least 3" for r in range(2)
    ]


def test_rows_are_fetched_from_the_ranks_that_have_them(ranks: list[dict[str, Any]]) -> None:
    assert [result["fetched"]["rows"].tolist() for result in ranks] == [[[11.0], [0.0], [2.0]], [[2.0], [10.0]]]
    # Each row's gradient is the sum over those who fetched it: rank 0 weighs by 1, rank 1 by 2.
    assert [result["fetched"]["gradient"].tolist() for result in ranks] == [[[1.0], [0.0], [3.0]], [[2.0], [1.0]]]
