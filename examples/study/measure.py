"""Everything that is measured of one run, in one process that encodes the held-out split once.

Written are JSON figures and, beside them, how much each image moves the recall sums (``.npz``), for paired errors.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvlm_plugin.checkpoints import open_checkpoint
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.evaluate.base import write_whole
from mvlm_plugin.evaluate.retrieval import evaluate_retrieval
from mvlm_plugin.evaluation.features import SplitFeatures, encode_split
from mvlm_plugin.evaluation.pair_table import PairTable
from mvlm_plugin.evaluation.pretraining import evaluate_group
from mvlm_plugin.evaluation.retrieval import (
    Estimate,
    image_to_text_ranks,
    recall_estimates,
    text_to_image_ranks,
)
from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.models.mvlm import MvlmModel

from .features import open_share, pooled_features, untrained_model
from .linear import BATCH, cross_validated_epochs, train_linear
from .settings import OBJECTIVES

Estimates = dict[str, dict[str, Estimate]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.study.measure",
        description="Recall by ITC, re-ranked by ITM and by both, conditioning gains and a linear probe of a "
        "checkpoint; or, with --arch, the linear baseline on the encoders that an architecture starts with.",
        epilog="example: python -m examples.study.measure --path checkpoint_last.pt --data data-bin/mine --out a.json",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--path", metavar="CKPT", help="checkpoint that fairseq-train wrote")
    source.add_argument("--arch", choices=sorted(ARCHITECTURES), help="architecture with its own pre-trained weights")
    parser.add_argument("--image-size", type=int, metavar="S", help="pixels, with --arch (default: the architecture's)")
    parser.add_argument("--data", required=True, metavar="DATABIN", help="data-bin that mvlm-prep made")
    parser.add_argument("--subset", default="valid", metavar="SPLIT", help="held-out split (default: %(default)s)")
    parser.add_argument("--objectives", default=",".join(OBJECTIVES), help="trained: only their figures are measured")
    parser.add_argument("--top-k", type=int, default=10, metavar="K", help="candidates that ITM ranks again (10)")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="per forward pass (64)")
    parser.add_argument(
        "--gain-groups", type=int, default=16, metavar="N", help="groups of 64 pairs for the gains (16)"
    )
    parser.add_argument(
        "--probe-fraction",
        type=float,
        default=0.0,
        metavar="F",
        help="photos that the linear layers train on; 0 = no probe",
    )
    parser.add_argument("--probe-epochs", type=int, default=60, metavar="N", help="passes over these photos (60)")
    parser.add_argument(
        "--cross-validate",
        action="store_true",
        help="train for as many of the epochs as rank best a fifth of the photos that is left out, each fifth in turn",
    )
    parser.add_argument(
        "--features", type=Path, metavar="DIR", help="keep the encoded splits there, for other shares of the photos"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the probe, and which photos it gets")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="torch device")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON; its .npz comes beside it")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        figures, estimates = _baseline(arguments) if arguments.arch else _checkpoint(arguments)
        influences: dict[str, Any] = {
            f"{name}_sum": found["sum"].influence.numpy() for name, found in estimates.items()
        }
        np.savez_compressed(arguments.out.with_suffix(".npz"), **influences)
        write_whole(str(arguments.out), json.dumps({**_values(estimates), **figures}, indent=1) + "\n")
    except (OSError, ValueError, ImportError, DataBinError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _values(estimates: Estimates) -> dict[str, dict[str, float]]:
    return {
        name: {key: estimate.value for key, estimate in found.items()} | {"sum_se": found["sum"].error}
        for name, found in estimates.items()
    }


def _checkpoint(arguments: argparse.Namespace) -> tuple[dict[str, Any], Estimates]:
    objectives = arguments.objectives.split(",")
    model, task = open_checkpoint(arguments.path, arguments.data)
    model.to(arguments.device)
    task.load_dataset(arguments.subset)
    dataset = task.datasets[arguments.subset]
    features = encode_split(model, dataset, arguments.batch_size, arguments.device)
    estimates = _recalls(model, features, objectives, arguments)
    figures: dict[str, Any] = {}
    if {"mlm", "mim"} & set(objectives):
        figures["gains"] = _gains(model, dataset, objectives, arguments)
    if arguments.probe_fraction:
        estimates["probe"], _ = _linear(model, task.dictionary, arguments)
    return figures, estimates


def _recalls(
    model: MvlmModel, features: SplitFeatures, objectives: list[str], arguments: argparse.Namespace
) -> Estimates:
    """ITC alone where matching was not trained; nothing where the contrastive head was not."""
    if "itm" in objectives:
        found, _ = evaluate_retrieval(model, features, arguments.top_k, 256, arguments.device)
        return found if "itc" in objectives else {"itm": found["itm"]}
    if "itc" not in objectives:
        return {}
    return {"itc": _ranked(features.image_embeddings, features.text_embeddings, features.image_of_text)}


def _ranked(images: torch.Tensor, texts: torch.Tensor, image_of_text: torch.Tensor) -> dict[str, Estimate]:
    """Recall by similarity; images without a caption are in the gallery and no queries."""
    ranks = torch.zeros(len(images), dtype=torch.int64)
    ranks[image_of_text.unique()] = image_to_text_ranks(images, texts, image_of_text)
    return recall_estimates(ranks, text_to_image_ranks(images, texts, image_of_text), image_of_text)


def _gains(model: MvlmModel, dataset: Any, objectives: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """Masked losses and conditioning gains, as validation has them, over its first groups of 64 pairs."""
    table = PairTable(len(dataset), len(dataset.store.images))
    for rows in dataset.batch_by_size(dataset.ordered_indices())[: arguments.gain_groups]:
        sample = dataset.collater([dataset[int(row)] for row in rows])
        inputs = {
            name: value.to(arguments.device) if torch.is_tensor(value) else value
            for name, value in sample["net_input"].items()
        }
        sample = {**sample, "net_input": inputs, "mlm_targets": sample["mlm_targets"].to(arguments.device)}
        table.add(evaluate_group(model, sample), sample["id"], inputs["image_ids"])
    result = table.result()
    names = [name for name in objectives if name in ("mlm", "mim")]
    return {"pairs": table.count} | {
        f"{name}_{figure}": result[f"{name}_{figure}"] for name in names for figure in ("loss", "gain", "gain_se")
    }


def _linear(
    model: MvlmModel, dictionary: Any, arguments: argparse.Namespace
) -> tuple[dict[str, Estimate], dict[str, int]]:
    """Recall of linear layers that are trained on the model's frozen pooled features; how many epochs and updates."""
    model.eval()
    seed = arguments.seed
    train, held_out = (
        pooled_features(model, share, arguments.batch_size, arguments.features)
        for share in (
            open_share(arguments.data, "train", model, dictionary, arguments.probe_fraction, seed),
            open_share(arguments.data, arguments.subset, model, dictionary, 1.0, seed),
        )
    )
    epochs = arguments.probe_epochs
    if arguments.cross_validate:
        epochs = cross_validated_epochs(train, seed, epochs)
    trained = train_linear(train, seed, epochs)
    training = {"epochs": epochs, "updates": epochs * math.ceil(len(train.images) / BATCH)}
    return _ranked(*trained.embed_held_out(held_out), held_out.image_of_text), training


def _baseline(arguments: argparse.Namespace) -> tuple[dict[str, Any], Estimates]:
    """The linear baseline: as the probe, on the encoders as they come."""
    model, dictionary = untrained_model(arguments.arch, arguments.image_size, arguments.data, arguments.seed)
    estimates, training = _linear(model.to(arguments.device), dictionary, arguments)
    return {"linear": training}, {"itc": estimates}


if __name__ == "__main__":
    sys.exit(main())
