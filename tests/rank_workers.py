"""What each of several processes of a test does; a module of its own, so that new processes can import it."""

import multiprocessing
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fairseq.distributed import LegacyDistributedDataParallel, ModuleProxyWrapper
from torch import Tensor

from mvlm_plugin.data.collate import collate
from mvlm_plugin.distributed import fetch_rows, gather_rows, gather_sizes, padded_rows, rank, world_size
from mvlm_plugin.evaluation.pair_table import PairTable
from mvlm_plugin.evaluation.pretraining import COLUMNS, GroupResult
from mvlm_plugin.ranks import without_pairs
from mvlm_plugin.tasks.feature_cache import CachedStep
from tests.helpers import gradients, make_criterion, make_dictionary, make_model, make_samples, roughen, tiny_config

WORLD = 2
WORDS = (5, 3, 8, 1, 6)
# Pairs 0, 2 and 4 share an image across ranks.
IMAGE_IDS = (7, 1, 7, 3, 7)
# Pairs of each rank: as many on each, or not.
SHARES = {"even": (range(0, 2), range(2, 4)), "uneven": (range(0, 3), range(3, 5))}
# A batch that is spread over any number of ranks, and its last batch of an epoch, where ranks have less or nothing.
GLOBAL_WORDS = (5, 3, 8, 1, 6, 2, 4, 7)
GLOBAL_IMAGE_IDS = (7, 1, 7, 3, 7, 2, 5, 1)
GLOBAL_BATCHES = {"full": 8, "last": 5}


def run_ranks(work: Callable[[], dict[str, Any]], folder: Path, world: int = WORLD) -> list[dict[str, Any]]:
    """Run ``work`` in processes joined by gloo; returns what each gave back."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked from a process that has imported this module.
    multiprocessing.set_forkserver_preload([__name__])
    arguments = (work, str(folder), port, world)
    mp.start_processes(_enter, args=arguments, nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"{r}.pt") for r in range(world)]


def _enter(index: int, work: Callable[[], dict[str, Any]], folder: str, port: int, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=index, world_size=world)
    torch.save(work(), Path(folder) / f"{index}.pt")
    dist.barrier()
    dist.destroy_process_group()


def build_model() -> torch.nn.Module:
    """The same model in every process."""
    return roughen(make_model(tiny_config()), scale=0.02)


def pairs(chosen: Sequence[int]) -> dict[str, Any]:
    """A batch of the given ones of the test's five pairs."""
    samples = make_samples(tiny_config(), WORDS, IMAGE_IDS)
    return collate([samples[i] for i in chosen], make_dictionary().pad())


def gathered() -> dict[str, Any]:
    """Gather 3 rows of rank 0 and 1 of rank 1, weigh them differently on each rank, and differentiate."""
    count = 3 if rank() == 0 else 1
    x = (torch.arange(count * 2.0).view(count, 2) + 10 * rank()).requires_grad_()
    sizes = gather_sizes(count, x.device)
    rows = gather_rows(x, sizes)
    (rows * rows * (rank() + 1)).sum().backward()
    none = gather_rows(torch.zeros(0, 2), [0, 0])
    one_sided = gather_rows(x.detach()[: 3 * (1 - rank())], [3, 0])
    return {
        "world": world_size(),
        "rank": rank(),
        "sizes": sizes,
        "rows": rows.detach(),
        "gradient": x.grad,
        "none": none,
        "one_sided": one_sided,
    }


def fetched() -> dict[str, Any]:
    """Rank 0 has rows 0, 1, 2 and fetches 11, 0, 2; rank 1 has rows 10, 11 and fetches 2, 10; weighed by rank + 1."""
    x = (torch.arange(3.0 - rank())[:, None] + 10 * rank()).requires_grad_()
    rows = fetch_rows(x, torch.tensor([[4, 0, 2], [2, 3, -1]]))
    (rows * (rank() + 1)).sum().backward()
    return {"rows": rows.detach(), "gradient": x.grad}


def refusal() -> str:
    """What is said of more rows than the capacity."""
    try:
        padded_rows(3, 2, torch.device("cpu"))
    except ValueError as error:
        return str(error)
    return ""


def gradient_is_kept(x: Tensor, sizes: list[int]) -> bool:
    """Whether what flows back from gathered rows into something else is left as it is."""
    rows = gather_rows(x, sizes)
    twin = torch.ones_like(rows, requires_grad=True)
    (rows + twin).sum().backward()
    return bool((twin.grad == 1).all())


def criterion_step(share: str) -> dict[str, Any]:
    """One step of this rank's pairs: gradients as they are, and as fairseq's wrapper reduces them."""
    criterion = make_criterion(itm=0)
    sample = pairs(SHARES[share][rank()])
    model = build_model()
    loss, size, log = criterion(model, sample)
    loss.backward()
    plain = gradients(model)
    wrapped = LegacyDistributedDataParallel(build_model(), dist.group.WORLD)
    criterion(wrapped, sample)[0].backward()
    wrapped.all_reduce_grads()
    log = {key: float(value) for key, value in log.items()}
    return {"size": size, "log": log, "plain": plain, "wrapped": gradients(wrapped.module)}


def table_of_ranks() -> dict[str, Any]:
    """Fill a table of 5 pairs: rank 0 has three, rank 1 two, then rank 0 one again and rank 1 none."""
    table = PairTable(5, 8)
    new = []
    for mine in (SHARES["uneven"][rank()], [1] if rank() == 0 else []):
        ids = torch.tensor(list(mine), dtype=torch.int64)
        new.append(table.add(table_rows(ids), ids, torch.tensor(IMAGE_IDS)[ids]))
    return {"new": new, "result": table.result()}


def table_rows(ids: Tensor) -> GroupResult:
    """Rows of a table that depend on the pair alone."""
    figures = (ids[:, None] + 1.0) * torch.arange(1.0, len(COLUMNS) + 1) % 7 + 1
    images = torch.tensor(IMAGE_IDS)[ids]
    return GroupResult(figures.double(), torch.eye(8)[images], torch.eye(8)[(images + ids % 2) % 8])


def global_step(batch: str, world: int, chunk: int = 0) -> dict[str, Any]:
    """This rank's share of a step with negatives from all ranks: its log and gradients; plain, or in cached chunks.

    A rank without pairs does what the task does then: it repeats pairs that count as none, with a loss of 0.
    """
    capacity = len(GLOBAL_WORDS) // world
    cfg = tiny_config(global_negatives=True)
    samples = make_samples(cfg, GLOBAL_WORDS, GLOBAL_IMAGE_IDS)[: GLOBAL_BATCHES[batch]]
    mine = samples[rank() * capacity : (rank() + 1) * capacity]
    sample = collate(mine or samples[:capacity], make_dictionary().pad()) | {"capacity": capacity}
    sample = sample if mine else without_pairs(sample)
    model = roughen(make_model(cfg), scale=0.02)
    torch.manual_seed(1)
    torch.rand(rank())  # what dropout draws on one rank must not matter
    if chunk:
        wrapped = model
        if world > 1:
            wrapped = ModuleProxyWrapper(LegacyDistributedDataParallel(model, dist.group.WORLD))
        _, size, log = CachedStep(wrapped, make_criterion(), chunk, float(bool(mine)))(sample)
    else:
        loss, size, log = make_criterion()(model, sample)
        (loss * bool(mine)).backward()
    log = {key: float(value) * bool(mine) for key, value in log.items()}
    return {"size": size * bool(mine), "log": log, "gradients": gradients(model)}


def global_steps() -> dict[str, Any]:
    """Steps with negatives from all of this job's ranks, plain and in cached chunks."""
    world = world_size()
    results = {batch: global_step(batch, world) for batch in GLOBAL_BATCHES}
    # 3 does not divide the pairs of a rank.
    return results | {f"cached {batch}": global_step(batch, world, chunk=3) for batch in GLOBAL_BATCHES}


def everything() -> dict[str, Any]:
    """All of the above in one go: starting processes takes longer than what they do."""
    x = torch.ones(2, 3, requires_grad=True)
    return {
        "gathered": gathered(),
        "fetched": fetched(),
        "refused": refusal(),
        "kept": gradient_is_kept(x, [2, 2]),
        "even": criterion_step("even"),
        "uneven": criterion_step("uneven"),
        "table": table_of_ranks(),
        "global": global_steps(),
    }
