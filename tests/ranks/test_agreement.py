"""Processes of a job agree on their last update although only some are asked to stop, and not at the same time."""

import threading

import pytest
import torch.distributed as dist

from mvlm_plugin.ranks import StopAgreement


def _stops(asked_at: list[int | None], ranks: int = 3, updates: int = 30) -> list[int]:
    """Last update of each rank; rank r is asked in its update asked_at[r]. A barrier stands for the gradients."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    gradients = threading.Barrier(ranks)
    last = [0] * ranks

    def train(rank: int) -> None:
        own = dist.TCPStore("127.0.0.1", store.port, is_master=False, wait_for_workers=False)
        agreement = StopAgreement(dist.PrefixStore("stop", own))
        asked = False
        for update in range(1, updates + 1):
            gradients.wait(timeout=20)  # raises if another rank has left
            asked = asked or update == asked_at[rank]
            last[rank] = update
            if agreement.is_last(update, asked):
                return

    threads = [threading.Thread(target=train, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return last


@pytest.mark.parametrize(
    ("asked_at", "last"),
    [([None, 5, None], {6}), ([5, 5, 5], {6}), ([4, 5, 7], {5}), ([7, 5, 6], {6}), ([None, None, None], {30})],
)
def test_all_stop_after_the_same_update(asked_at: list[int | None], last: set[int]) -> None:
    for _ in range(5):
        assert set(_stops(asked_at)) == last


def test_a_process_alone_stops_at_once() -> None:
    agreement = StopAgreement(None)
    assert not agreement.is_last(3, asked=False)
    assert agreement.is_last(3, asked=True)
