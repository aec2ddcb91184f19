"""The checks of mvlm-smoke. Each runs in every process together and raises CheckError where it fails."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fairseq import checkpoint_utils, utils
from fairseq.distributed import LegacyDistributedDataParallel
from omegaconf import OmegaConf
from torch import Tensor

from ..criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig
from ..data.tokenizers import load_dictionary
from ..distributed import gather_rows, gather_sizes
from ..models.architectures import MvlmTinyConfig
from ..models.mvlm import MvlmModel
from ..tasks.joint_masked_vl import JointMaskedVLConfig, JointMaskedVLTask

_SEED = 1
_SPEED_BYTES = 64 * 2**20


class CheckError(AssertionError):
    """A check found something wrong; the message says what."""


@dataclass
class Job:
    """This process, and what the checks hand on to one another.

    Attributes:
        rank, count, device: this process, how many there are, and what it computes on.
        folder: temporary folder that all processes see.
        data: data-bin.
        batch: pairs a process.
        task, model, optimizer: of the run that is played through, alike in all processes.
        alone: gradients of the whole batch, computed by this process before it joined the others.
    """

    rank: int
    count: int
    device: torch.device
    folder: Path
    data: Path
    batch: int
    task: Any = None
    model: Any = None
    optimizer: Any = None
    alone: dict[str, Tensor] = field(default_factory=dict)


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise CheckError(problem)


def prepare(job: Job) -> None:
    """Task, data and model, and the gradients of the whole batch: everything that needs no other process."""
    job.task = JointMaskedVLTask(JointMaskedVLConfig(data=str(job.data), seed=_SEED), load_dictionary(job.data))
    config = MvlmTinyConfig(_name="mvlm_tiny", global_negatives=True)
    torch.manual_seed(_SEED)
    job.model = job.task.build_model(OmegaConf.structured(config)).to(job.device)
    job.task.load_dataset("train")
    _require(
        len(job.task.dataset("train")) >= 4 * job.batch * job.count,
        f"{job.data} has fewer than {4 * job.batch * job.count} pairs; lower --batch-size",
    )
    job.alone = _gradients(job, job.model, range(job.batch * job.count))


def _gradients(job: Job, model: torch.nn.Module, pairs: range) -> dict[str, Tensor]:
    """Gradients of the summed loss of some pairs of the data."""
    dataset = job.task.dataset("train")
    sample = dataset.collater([dataset[i] for i in pairs])
    if job.device.type == "cuda":
        sample = utils.move_to_cuda(sample, job.device)
    criterion = JointMaskedVLCriterion(JointMaskedVLCriterionConfig(), job.task)
    torch.manual_seed(_SEED)
    model.zero_grad()
    criterion(model, sample)[0].backward()
    if isinstance(model, LegacyDistributedDataParallel):
        model.all_reduce_grads()
    return {name: p.grad.clone() for name, p in job.model.named_parameters() if p.grad is not None}


def check_gather(job: Job) -> str:
    """Rows of all processes, as many as each has, and the gradient of what every process wants of them."""
    rows = [torch.arange(2.0 * (r + 1), device=job.device).view(-1, 2) + 10 * r for r in range(job.count)]
    mine = rows[job.rank].clone().requires_grad_()
    gathered = gather_rows(mine, gather_sizes(len(mine), job.device))
    _require(torch.equal(gathered, torch.cat(rows)), "gathered rows differ from what the processes hold")
    (gathered**2 * (job.rank + 1)).sum().backward()
    wanted = 2 * rows[job.rank] * sum(r + 1 for r in range(job.count))
    assert mine.grad is not None
    worst = (mine.grad - wanted).abs().max().item()
    _require(worst < 1e-3, f"the gradient of gathered rows is wrong by {worst:g}")
    return f"{len(gathered)} rows"


def check_gradients(job: Job) -> str:
    """Gradients of all losses over all processes' pairs equal those of one process with all pairs."""
    wrapped = LegacyDistributedDataParallel(job.model, dist.group.WORLD)
    own = range(job.rank * job.batch, (job.rank + 1) * job.batch)
    mean = _gradients(job, wrapped, own)
    _require(mean.keys() == job.alone.keys(), "other parameters have gradients than in one process")
    worst, where = max((_difference(mean[name] * job.count, job.alone[name]), name) for name in mean)
    _require(worst < 1e-3, f"gradient of {where} differs from one process's by {worst:.1e} of its size")
    return f"{len(mean)} parameters, largest relative difference {worst:.0e}"


def _difference(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference; relative to the expected norm, where that is not near 0."""
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-3))


def check_weights(job: Job) -> str:
    """After an update all processes hold the same weights, to the last bit."""
    job.optimizer = torch.optim.AdamW(job.model.parameters(), lr=1e-3)
    job.optimizer.step()
    _require(_same_everywhere(job.model), "weights differ from rank 0's after an update")
    return f"{sum(p.numel() for p in job.model.parameters()):,} weights"


def _same_everywhere(model: MvlmModel) -> bool:
    mine = torch.cat([p.detach().flatten() for p in model.parameters()])
    first = mine.clone()
    dist.broadcast(first, 0)
    return torch.equal(mine, first)


def check_checkpoint(job: Job) -> str:
    """What rank 0 saves, every process reads back equal."""
    path = str(job.folder / "checkpoint.pt")
    state = {"model": job.model.state_dict(), "optimizer": job.optimizer.state_dict()}
    began = time.perf_counter()
    if job.rank == 0:
        checkpoint_utils.torch_persistent_save(state, path)
    seconds = time.perf_counter() - began
    dist.barrier()
    _require(Path(path).exists(), f"{path} was saved by rank 0 and is not seen here; --save-dir must be shared")
    loaded = torch.load(path, map_location=job.device, weights_only=True)
    for part in state:
        _require(_equal(loaded[part], state[part]), f"{part} read back from {path} differs from what was saved")
    size = Path(path).stat().st_size / 2**20
    return f"{size:.0f} MiB, written at {size / seconds:.0f} MiB/s"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _batches(job: Job) -> Any:
    """The training data of this process, as the trainer asks for it."""
    dataset = job.task.dataset("train")
    return job.task.get_batch_iterator(
        dataset, max_sentences=job.batch, seed=_SEED, num_shards=job.count, shard_id=job.rank, epoch=1
    )


def check_data_order(job: Job) -> str:
    """Over an epoch the processes see every pair once."""
    batches = _batches(job)
    mine = [int(i) for batch in batches.ordered_batches(1, False, not batches.disable_shuffling) for i in batch]
    sizes = gather_sizes(len(mine), job.device)
    pairs = gather_rows(torch.tensor(mine, device=job.device), sizes)
    total = len(job.task.dataset("train"))
    distinct = len(pairs.unique())
    _require(distinct == len(pairs), f"{len(pairs) - distinct} pairs come twice in an epoch")
    _require(
        len(pairs) == total, f"an epoch has {len(pairs)} of {total} pairs; do all processes see the same data-bin?"
    )
    return f"{total:,} pairs, {min(sizes):,} to {max(sizes):,} a process"


def check_resume(job: Job) -> str:
    """Batches read from the data go on after a resume as they would have gone on without."""
    whole = _batches(job)
    batches = whole.next_epoch_itr()
    first = _read(batches, 2)
    state = whole.state_dict()
    resumed = _batches(job)
    resumed.load_state_dict(state)
    for after, before in zip(_read(resumed.next_epoch_itr(), 2), _read(batches, 2), strict=True):
        _require(_equal(after, before), "after a resume come other pairs, pixels or masks than without one")
    ids = torch.cat([batch["id"] for batch in first]).to(job.device)
    everyone = gather_rows(ids, gather_sizes(len(ids), job.device))
    _require(len(everyone.unique()) == len(everyone), "processes read the same pairs")
    return f"{len(everyone)} pairs read, all different"


def _read(batches: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return [next(batches) for _ in range(count)]


def check_speed(job: Job) -> str:
    """Bytes a second of an all-reduce, the collective of every update; nothing can fail here but the time limit."""
    buffer = torch.zeros(_SPEED_BYTES // 4, device=job.device)
    dist.all_reduce(buffer)
    seconds = []
    for _ in range(3):
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(buffer)
        if job.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    best = min(seconds)
    return f"{_SPEED_BYTES / 2**20:.0f} MiB in {1000 * best:.1f} ms, {_SPEED_BYTES / best / 1e9:.2f} GB/s"


CHECKS: dict[str, Callable[[Job], str]] = {
    "gather with gradient": check_gather,
    "gradients as one process": check_gradients,
    "equal weights after an update": check_weights,
    "checkpoint": check_checkpoint,
    "every pair once an epoch": check_data_order,
    "own pairs, and after a resume": check_resume,
    "all-reduce": check_speed,
}
