"""The training whose curves are kept: generated scenes, every objective, a fixed seed; some 20 seconds of one core."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from data_prep.cli import main as prepare
from mvlm_plugin.checkpoints import open_checkpoint
from mvlm_plugin.evaluation.pretraining import COLUMNS, evaluate_group
from tests.training import train

UPDATES = 120
PAIRS = 960  # 720 of them to train on, 120 held out
FIGURES = (
    "loss", "mlm_loss", "mim_loss", "itc_loss", "itm_loss", "mlm_acc", "itc_acc", "itm_acc",
    "temperature", "gnorm", "lr",
)  # fmt: skip
OPTIONS = [
    "--image-mask-block", 16, "--train-crop-scale", 0.8, "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)",
    "--weight-decay", 0.01, "--clip-norm", 1.0, "--lr", 1e-3, "--lr-scheduler", "polynomial_decay", "--warmup-updates",
    10, "--total-num-update", UPDATES, "--batch-size", 16, "--seed", 1, "--log-format", "json", "--log-interval", 1,
]  # fmt: skip

Curves = dict[str, list[float]]


class _Log(logging.Handler):
    """Keeps what fairseq logs of every update."""

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "train_inner":  # fairseq renames its logger for a moment
            self.updates.append(json.loads(record.getMessage()))


def prepare_scenes(folder: Path) -> Path:
    """The data-bin that the golden run reads.

    Raises:
        RuntimeError: mvlm-prep failed.
    """
    arguments = ["scenes", "--dest", folder, "--pairs", PAIRS, "--image-size", 32, "--seed", 1, "--workers", 1]
    if prepare(list(map(str, arguments))):
        raise RuntimeError(f"the scenes could not be prepared in {folder}")
    return folder


def golden_run(scenes: Path, folder: Path, *changes: object, updates: int = UPDATES) -> Curves:
    """Train, and measure held-out pairs at the end.

    Args:
        scenes: from prepare_scenes().
        folder: for the checkpoint.
        changes: further options of fairseq-train, which win over those of the golden run.
        updates: to make; fewer are the beginning of the same run.

    Returns:
        A list of values for each of FIGURES, one an update; and one value for each figure of the held-out pairs, named
        ``valid_...``: losses, accuracies and conditioning gains.
    """
    log = _Log()
    logger = logging.getLogger("fairseq.logging.progress_bar")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        checkpoint = train(scenes, folder, *OPTIONS, *changes, updates=updates)
    finally:
        logger.removeHandler(log)
    curves = {name: [float(update[name]) for update in log.updates] for name in FIGURES}
    return curves | _held_out(checkpoint, scenes)


@torch.no_grad()
def _held_out(checkpoint: Path, scenes: Path) -> Curves:
    """Means over the held-out pairs, as one group: each pair's wrong partner is another of them."""
    model, task = open_checkpoint(str(checkpoint), str(scenes))
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    batch = dataset.collater([dataset[int(index)] for index in dataset.ordered_indices()])
    means = evaluate_group(model, batch).figures.mean(dim=0).tolist()
    return {f"valid_{name}": [value] for name, value in zip(COLUMNS, means, strict=True)}
