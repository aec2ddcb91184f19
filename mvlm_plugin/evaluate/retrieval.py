"""``mvlm-eval retrieval``: recall@1/5/10 both ways, by ITC alone and re-ranked by ITM."""

import argparse
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import open_checkpoint
from ..data.databin import canonical_split
from ..evaluation.features import SplitFeatures, encode_split, protocol_entries
from ..evaluation.rerank import CandidatePairs, Neighbours, faiss_index, match_pairs, neighbours, torch_index
from ..evaluation.retrieval import KS, Estimate, list_ranks, recall_estimates
from ..models.mvlm import MvlmModel
from ..tasks.joint_masked_vl import JointMaskedVLTask
from ..tasks.vl_retrieval import VlRetrievalTask
from .base import EvalCommand, Report, add_data_options
from .protocol import protocol_of

_SCORES = {"itc": "ITC", "itm": "re-ranked by ITM", "itm_itc": "by ITM + ITC"}


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_data_options(parser)
    parser.add_argument(
        "--top-k",
        type=int,
        default=128,
        metavar="K",
        help="ITM re-scores the K captions nearest to each image and the K images nearest to each caption; what is "
        f"not among them stays behind (default: %(default)s, at least {max(KS)})",
    )
    parser.add_argument(
        "--pairs-per-chunk",
        type=int,
        default=256,
        metavar="N",
        help="pairs that ITM reads at a time: bounds memory, changes no figure (default: %(default)s)",
    )
    parser.add_argument(
        "--faiss",
        action="store_true",
        help="find candidates with faiss's exact index, for large galleries; same result (extra 'faiss')",
    )


def _run(arguments: argparse.Namespace) -> Report:
    if arguments.top_k < max(KS):
        raise ValueError(f"--top-k {arguments.top_k} must be at least {max(KS)}, the largest k of recall@k")
    if arguments.pairs_per_chunk < 1:
        raise ValueError("--pairs-per-chunk must be at least 1")
    if canonical_split(arguments.subset) == "train":
        raise ValueError("--subset train is shuffled and cropped anew every time; give a held-out split")
    model, task = open_checkpoint(arguments.path, arguments.data)
    if type(task) not in (JointMaskedVLTask, VlRetrievalTask):
        raise ValueError(
            f"{arguments.path} was trained for the task {task.cfg._name}, which does not compare images with captions; "
            "give a checkpoint of joint_masked_vl or vl_retrieval"
        )
    task.load_dataset(arguments.subset)
    model.to(arguments.device)
    features = encode_split(model, task.datasets[arguments.subset], arguments.batch_size, arguments.device)
    estimates, pairs = evaluate_retrieval(
        model, features, arguments.top_k, arguments.pairs_per_chunk, arguments.device, arguments.faiss
    )
    entries = {"subset": arguments.subset, **protocol_entries(features), "top_k": arguments.top_k}
    protocol = protocol_of(arguments.path, task, model, **entries, reranked_pairs=pairs)
    return Report(protocol, _figures(estimates), _text(estimates))


def evaluate_retrieval(
    model: MvlmModel,
    features: SplitFeatures,
    top_k: int,
    pairs_per_chunk: int,
    device: torch.device | str,
    use_faiss: bool = False,
) -> tuple[dict[str, dict[str, Estimate]], int]:
    """Recall by ITC, re-ranked by ITM (as ALBEF; Li et al., 2021), and by the sum of both logits (as BLIP adds them).

    A bad image is not in the gallery: it misses as a query, and so do its captions, which stay in the gallery.

    Returns:
        ``itc``, ``itm`` and ``itm_itc``, each as recall_estimates() gives it, and how many pairs ITM has scored.

    Raises:
        ValueError: embeddings or scores are not finite.
        ImportError: faiss is asked for and not installed.
    """
    if not (features.image_embeddings.isfinite().all() and features.text_embeddings.isfinite().all()):
        raise ValueError("the checkpoint's embeddings are not finite: its training diverged")
    images, texts = features.image_embeddings.to(device), features.text_embeddings.to(device)
    make_index = faiss_index if use_faiss else torch_index
    of_images = neighbours(images, texts, top_k, asked=features.is_readable, make_index=make_index)
    of_texts = neighbours(texts, images, top_k, offered=features.is_readable, make_index=make_index)
    pairs = CandidatePairs(of_images.rows, of_texts.rows)
    scores = torch.zeros(len(pairs))
    matched = match_pairs(model, features.images, features.texts, pairs.images, pairs.texts, pairs_per_chunk, device)
    for places, values in matched:
        scores[places] = values
    if not scores.isfinite().all():
        raise ValueError("the checkpoint's matching scores are not finite: its training diverged")
    itm = pairs.tables(scores, of_images.rows, of_texts.rows)
    temperature = model.contrastive.temperature.detach().cpu()
    both = [score + found.similarity / temperature for score, found in zip(itm, (of_images, of_texts), strict=True)]
    tables = {"itc": (of_images.similarity, of_texts.similarity), "itm": itm, "itm_itc": both}
    own = _own(of_images, of_texts, features.image_of_text)
    estimates = {}
    for name, (image_scores, text_scores) in tables.items():
        # Where neighbours tie around the cut, a right one may be in the list by luck: it does not count.
        image_ranks = list_ranks(own[0], image_scores, of_images.is_ahead)
        text_ranks = list_ranks(own[1], text_scores, of_texts.is_ahead)
        estimates[name] = recall_estimates(image_ranks, text_ranks, features.image_of_text)
    return estimates, len(pairs)


def _own(of_images: Neighbours, of_texts: Neighbours, image_of_text: Tensor) -> tuple[Tensor, Tensor]:
    """Which neighbours are right: captions of the image, and the image of the caption."""
    rows = torch.arange(len(of_images.rows))[:, None]
    is_text = of_images.is_found & (image_of_text[of_images.rows] == rows)
    return is_text, of_texts.is_found & (of_texts.rows == image_of_text[:, None])


def _figures(estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """For JSON: each figure and its standard error, and the same of the paired differences from ITC."""
    blocks = dict(estimates)
    for name in ("itm", "itm_itc"):
        blocks[f"{name}_minus_itc"] = _differences(estimates, name)
    return {
        block: {name: estimate.value for name, estimate in entries.items()}
        | {f"{name}_se": estimate.error for name, estimate in entries.items()}
        for block, entries in blocks.items()
    }


def _differences(estimates: Mapping[str, Mapping[str, Estimate]], name: str) -> dict[str, Estimate]:
    return {figure: estimate.minus(estimates["itc"][figure]) for figure, estimate in estimates[name].items()}


def _text(estimates: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A table in per cent, a line a figure."""
    lines = [f"{'per cent ± se':16}" + "".join(f"{title:>20}" for title in (*_SCORES.values(), "ITM - ITC"))]
    columns = [*(estimates[name] for name in _SCORES), _differences(estimates, "itm")]
    for figure in estimates["itc"]:
        cells = [f"{100 * column[figure].value:.2f} ± {100 * column[figure].error:.2f}" for column in columns]
        lines.append(f"{figure:16}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


COMMAND = EvalCommand(
    "retrieval",
    "Recall@1/5/10 of captions by image and of images by caption: by ITC alone, and re-ranked by ITM.",
    "mvlm-eval retrieval --path checkpoints/checkpoint_last.pt --data data-bin/scenes --subset test --json recall.json",
    _add_options,
    _run,
)
