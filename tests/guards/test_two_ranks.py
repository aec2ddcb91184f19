"""Two processes skip the same updates, and end together."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from mvlm_plugin.data.pair_list import read_pairs
from mvlm_plugin.distributed import rank, world_size
from mvlm_plugin.guards import bad_images
from mvlm_plugin.guards.bad_images import TooManyBadImagesError
from tests.data.test_dataset import damage
from tests.guards.runs import spoil_losses, train, updates_of
from tests.helpers import write_databin
from tests.rank_workers import run_ranks

SPOILED = 2  # update, counted from 1, that rank 1 has a loss in that is not finite


def both_runs(whole: Path, damaged: Path, folder: Path) -> dict[str, Any]:
    """One run with a loss on rank 1 that is not finite, and one on images that cannot be read."""
    job = {
        "distributed_training__distributed_world_size": world_size(),
        "distributed_training__distributed_rank": rank(),
        "distributed_training__ddp_backend": "legacy_ddp",
        "dataset__batch_size": 4,
    }
    with pytest.MonkeyPatch.context() as patch:
        seen = updates_of(patch)
        spoil_losses(patch, lambda sample: rank() == 1 and len(seen) == SPOILED)
        weights = train(whole, folder / "skips", updates=3, **job)["model"]
    dist.barrier()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bad_images, "LEAST_READ", 20)
        started = updates_of(patch)
        message = ""
        try:
            train(damaged, folder / "ends", task__max_bad_fraction=0.2, **job)
        except TooManyBadImagesError as error:
            message = str(error)
    finite = all(bool(value.isfinite().all()) for value in weights.values())
    return {"seen": seen, "finite": finite, "message": message, "started": len(started)}


def test_ranks_skip_and_end_together(tmp_path: Path) -> None:
    whole, damaged = write_databin(tmp_path / "whole"), write_databin(tmp_path / "damaged")
    damage(damaged, list(range(0, 24, 2)))
    ranks = run_ranks(functools.partial(both_runs, whole, damaged, tmp_path), tmp_path)
    for number, result in enumerate(ranks):
        assert len(result["seen"]) == 4, "three updates and one that was skipped"
        listed = read_pairs(tmp_path / "skips" / f"skipped_updates.rank{number}.jsonl")
        assert [known.pairs for known in listed] == [result["seen"][SPOILED - 1]]
        assert result["finite"]
        assert "more than --max-bad-fraction 0.2" in result["message"]
    assert not {*ranks[0]["seen"][1]} & {*ranks[1]["seen"][1]}
    assert ranks[0]["message"].split(":")[0] == ranks[1]["message"].split(":")[0]
    assert ranks[0]["started"] == ranks[1]["started"]
