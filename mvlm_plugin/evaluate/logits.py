"""Logits of a classifier for every text of a split."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from fairseq import utils
from torch import Tensor
from tqdm import tqdm

# Processes that decode images for a GPU; a CPU has its cores busy with the model.
_WORKERS = 4


class Predictions(NamedTuple):
    """What a classifier says of N texts.

    ids: (N,) int64, their numbers in the split; logits: (N, C) float32; both on the CPU; bad_images: images that could
    not be read, in whose place a black one was judged.
    """

    ids: Tensor
    logits: Tensor
    bad_images: int


def predict_batches(
    model: torch.nn.Module, task: Any, split: str, batch_size: int, device: str | torch.device
) -> Iterator[Predictions]:
    """Predictions batch by batch, texts of the same images together, each image encoded once a batch.

    Precision is that of training (--autocast bf16), as in fairseq-validate.

    Args:
        model: PairClassifier in eval mode, on ``device``.
        task: its task.
        split: a held-out split of the task's data-bin; loaded where it is not yet.
        batch_size: texts a forward pass.
        device: of the model.

    Raises:
        DataBinError: the data-bin lacks the split or is damaged.
    """
    device = torch.device(device)
    if split not in task.datasets:
        task.load_dataset(split)
    workers = _WORKERS if device.type == "cuda" else 0
    iterator = task.get_batch_iterator(task.dataset(split), max_sentences=batch_size, num_workers=workers)
    for sample in tqdm(iterator.next_epoch_itr(shuffle=False), desc=f"predict {split}", unit="batch"):
        inputs = utils.apply_to_sample(lambda tensor: tensor.to(device), sample["net_input"])
        with torch.no_grad(), task.autocast.region(device):
            logits = model(**inputs).float().cpu()
        yield Predictions(sample["id"], logits, sample["bad_images"])
