"""Collectives of ranks with any number of rows each, some with none; the ranks are threads of this process."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvlm_plugin import distributed
from mvlm_plugin.distributed import fetch_rows, gather_padded, gather_rows, gather_sizes, padded_rows, rank
from mvlm_plugin.losses.negatives import NO_PAIR, HardNegatives, sample_global_negatives


class Threads:
    """What the code uses of torch.distributed, for threads in place of processes."""

    def __init__(self, world: int) -> None:
        self.world = world
        self._own = threading.local()
        self._barrier = threading.Barrier(world, timeout=60)
        self._shared: list[Any] = [None] * world

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def get_world_size(self) -> int:
        return self.world

    def get_rank(self) -> int:
        return self._own.rank

    def _exchange(self, value: Any) -> list[Any]:
        """What every rank brought, in order."""
        self._shared[self.get_rank()] = value
        self._barrier.wait()
        values = list(self._shared)
        self._barrier.wait()  # before anyone brings something else
        return values

    def all_gather(self, parts: list[Tensor], x: Tensor) -> None:
        values = self._exchange(x.clone())
        assert len({value.shape for value in values}) == 1, "torch gathers equal shapes alone"
        for part, value in zip(parts, values, strict=True):
            part.copy_(value)

    def all_reduce(self, x: Tensor) -> None:
        x.copy_(torch.stack(self._exchange(x.clone())).sum(0))

    def all_to_all_single(self, result: Tensor, x: Tensor, received: list[int], sent: list[int]) -> None:
        parts = [parts[self.get_rank()] for parts in self._exchange(x.clone().split(sent))]
        assert [len(part) for part in parts] == received, "torch wants to know beforehand"
        result.copy_(torch.cat(parts))

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """Call ``work`` with its number on every rank; returns what each gave back."""
        results: list[Any] = [None] * self.world
        errors: list[BaseException] = []

        def enter(number: int) -> None:
            self._own.rank = number
            try:
                results[number] = work(number)
            except BaseException as error:
                errors.append(error)
                self._barrier.abort()

        threads = [threading.Thread(target=enter, args=(number,)) for number in range(self.world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
        return results


def on_ranks(world: int, work: Callable[[int], Any]) -> list[Any]:
    """What ``work`` gives back on each of several ranks."""
    with pytest.MonkeyPatch.context() as patch:
        threads = Threads(world)
        patch.setattr(distributed, "dist", threads)
        return threads.run(work)


SIZES = st.lists(st.integers(0, 5), min_size=2, max_size=4)


def rows_of(sizes: list[int]) -> list[Tensor]:
    """Different rows for every rank."""
    return [100.0 * number + torch.arange(2.0 * size).view(size, 2) for number, size in enumerate(sizes)]


@given(SIZES)
def test_rows_of_all_ranks_in_order_and_their_gradients(sizes: list[int]) -> None:
    parts = rows_of(sizes)
    weights = torch.randn(len(sizes), sum(sizes), 2)

    def work(number: int) -> tuple[list[int], Tensor, Tensor]:
        x = parts[number].clone().requires_grad_()
        found = gather_sizes(len(x), x.device)
        rows = gather_rows(x, found)
        (rows * weights[number]).sum().backward()
        return found, rows.detach(), x.grad

    expected = weights.sum(0).split(sizes)
    for number, (found, rows, gradient) in enumerate(on_ranks(len(sizes), work)):
        assert found == sizes
        assert torch.equal(rows, torch.cat(parts))
        torch.testing.assert_close(gradient, expected[number])


@given(SIZES, st.integers(0, 3) | st.none(), st.floats(-5, 5, width=32))
def test_padded_rows_of_all_ranks(sizes: list[int], room: int | None, fill: float) -> None:
    capacity = None if room is None else max(sizes) + room
    parts = rows_of(sizes)

    def work(number: int) -> Tensor:
        return gather_padded(parts[number], padded_rows(sizes[number], capacity, torch.device("cpu")), fill)

    rows = max(sizes) if capacity is None else capacity
    expected = torch.cat([F.pad(part, (0, 0, 0, rows - len(part)), value=fill) for part in parts])
    assert all(torch.equal(gathered, expected) for gathered in on_ranks(len(sizes), work))


@st.composite
def wishes(draw: st.DrawFn) -> tuple[list[int], Tensor]:
    """Rows of every rank, and which of them every rank wants, several times perhaps."""
    sizes = draw(SIZES.filter(any))
    rows = max(sizes) + draw(st.integers(0, 2))
    there = [owner * rows + row for owner, size in enumerate(sizes) for row in range(size)]
    wanted = [draw(st.lists(st.sampled_from(there), max_size=rows)) for _ in sizes]
    return sizes, torch.tensor([mine + [-1] * (rows - len(mine)) for mine in wanted])


@given(wishes())
def test_rows_are_fetched_from_whoever_has_them(wish: tuple[list[int], Tensor]) -> None:
    sizes, wanted = wish
    parts = rows_of(sizes)
    table = torch.cat([F.pad(part, (0, 0, 0, wanted.size(1) - len(part))) for part in parts])

    def work(number: int) -> tuple[Tensor, Tensor]:
        x = parts[number].clone().requires_grad_()
        rows = fetch_rows(x, wanted)
        (rows * (rank() + 1)).sum().backward()
        return rows.detach(), x.grad

    weights = torch.zeros(len(table))
    for number, mine in enumerate(wanted):
        weights.index_add_(0, mine[mine >= 0], torch.full(((mine >= 0).sum(),), number + 1.0))
    for number, (rows, gradient) in enumerate(on_ranks(len(sizes), work)):
        mine = wanted[number]
        assert torch.equal(rows, table[mine[mine >= 0]])
        start = number * wanted.size(1)
        assert torch.equal(gradient, weights[start : start + sizes[number], None].expand(-1, 2))


@given(SIZES.filter(any), st.data())
def test_negatives_of_all_ranks(sizes: list[int], data: st.DataObject) -> None:
    total = sum(sizes)
    ids = torch.tensor(data.draw(st.lists(st.integers(0, 4), min_size=total, max_size=total)))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    images, texts = F.normalize(torch.randn(2, total, 4), dim=2)
    shares = [part.split(sizes) for part in (images, texts, ids)]
    capacity = max(sizes) + 1

    def work(number: int) -> HardNegatives:
        mine = [share[number] for share in shares]
        return sample_global_negatives(mine[0], mine[1], torch.tensor(0.1), mine[2], capacity)

    places = torch.full((len(sizes) * capacity,), NO_PAIR)
    for number, numbers in enumerate(torch.arange(total).split(sizes)):
        places[number * capacity : number * capacity + len(numbers)] = numbers
    found = on_ranks(len(sizes), work)
    # On one process with as much noise: the same pairs are drawn.
    alone = sample_global_negatives(images, texts, torch.tensor(0.1), ids, len(places))
    for name in HardNegatives._fields:
        joined = torch.cat([getattr(result, name) for result in found])
        assert torch.equal(joined if name.startswith("has_") else places[joined], getattr(alone, name)), name
    for rows, flags in ((alone.text_of_image, alone.has_text), (alone.image_of_text, alone.has_image)):
        assert (ids[rows[flags]] != ids[flags]).all()
        assert flags.tolist() == [any(other != own for other in ids.tolist()) for own in ids.tolist()]
