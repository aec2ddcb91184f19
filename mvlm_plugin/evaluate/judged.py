"""What a fine-tuned classifier says about the texts of a split, for the evaluations that score it."""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checkpoints import open_checkpoint
from ..data.databin import canonical_split
from ..data.labelled import LabelledDataset
from ..models.fused_encoders import FusedEncoders
from .base import add_data_options, write_whole
from .logits import predict_batches
from .protocol import protocol_of


class Classifier(NamedTuple):
    """A checkpoint's model in eval mode and its task, and the split that it shall judge."""

    model: FusedEncoders
    task: Any
    dataset: LabelledDataset


class Judged(NamedTuple):
    """The class that was chosen for each text of a split.

    texts: (N,) int64, their numbers in the split, ascending; chosen: (N,) int64, from 0 to classes - 1; protocol: the
    conditions.
    """

    texts: Tensor
    chosen: Tensor
    protocol: dict[str, Any]


def open_classifier(arguments: argparse.Namespace, wanted: str) -> Classifier:
    """The checkpoint of --path and the split --subset of --data.

    Args:
        arguments: the common options and the data options.
        wanted: name of the task that the checkpoint must be of.

    Raises:
        OSError, DataBinError: the checkpoint or the data-bin cannot be read.
        ValueError: it is no checkpoint, or one of another task; or the split is the one for training.
    """
    if canonical_split(arguments.subset) == "train":
        raise ValueError(f"--subset {arguments.subset} is read shuffled and cropped, for training; give a held-out one")
    model, task = open_checkpoint(arguments.path, arguments.data)
    name = task.cfg._name
    if name != wanted:
        raise ValueError(
            f"{arguments.path} is a checkpoint of task {name}, and this evaluates {wanted}: fine-tune it first with "
            f"fairseq-train --task {wanted} --finetune-from-model {arguments.path}, or evaluate it with the command "
            "of its own task (mvlm-eval --help lists them)"
        )
    task.load_dataset(arguments.subset)
    return Classifier(model.to(arguments.device), task, task.dataset(arguments.subset))


def judge(classifier: Classifier, arguments: argparse.Namespace) -> Judged:
    """Let the classifier choose a class for every text of the split.

    Raises:
        ValueError: what it says is not a number.
    """
    model, task, dataset = classifier
    texts, chosen, bad_images = [], [], 0
    for batch in predict_batches(model, task, arguments.subset, arguments.batch_size, arguments.device):
        if not batch.logits.isfinite().all():
            raise ValueError(
                f"the logits of {arguments.path} are not finite: its training diverged; take an earlier one"
            )
        texts.append(batch.ids)
        chosen.append(batch.logits.argmax(dim=1))
        bad_images += batch.bad_images
    all_texts = torch.cat(texts)
    order = all_texts.argsort()
    protocol = protocol_of(
        arguments.path, task, model, subset=arguments.subset, texts=len(all_texts), images=len(dataset.store.images),
        bad_images=bad_images, classes=len(task.classes),
    )  # fmt: skip
    if dataset.options.shuffled_images:
        protocol["shuffled_images"] = "every text is judged with the images of another"
    return Judged(all_texts[order], torch.cat(chosen)[order], protocol)


def add_judgement_options(parser: argparse.ArgumentParser) -> None:
    """Add the data options and --judgements."""
    add_data_options(parser)
    parser.add_argument(
        "--judgements",
        metavar="FILE",
        help="also write what each labelled text scored: CSV lines text,cluster,score; texts of one cluster share an "
        "image or a sentence. For paired comparisons of two checkpoints (examples/blind_gap.py)",
    )


def write_judgements(path: str | None, texts: Sequence[int], clusters: Tensor, scores: Tensor) -> None:
    """The file of --judgements; nothing without a path.

    Args:
        path: of the file, which appears whole.
        texts: n numbers of texts in the split.
        clusters: (n,) int64, see linked().
        scores: (n,) from 0 to 1, or bool.
    """
    if path is None:
        return
    rows = zip(texts, clusters.tolist(), scores.double().tolist(), strict=True)
    write_whole(path, "text,cluster,score\n" + "".join(f"{t},{c},{v:g}\n" for t, c, v in rows))


def has_labels(dataset: LabelledDataset) -> bool:
    """Whether any text of a split has a label."""
    labels, texts = dataset.labels, dataset.texts.tolist()
    return labels is not None and any(labels.has_label(dataset.store.fields(text)) for text in texts)


def no_figure(dataset: LabelledDataset, fix: str) -> ValueError:
    """The error where a split has no label, so that nothing can be scored."""
    return ValueError(f"no text of split {dataset.store.name} of {dataset.store.folder} has a label to score by; {fix}")


def labelled_rows(dataset: LabelledDataset, judged: Judged) -> tuple[Tensor, Tensor]:
    """The texts that have a label, where each has one right class.

    Returns:
        rows of ``judged`` and the right classes, both (n,) int64.

    Raises:
        DataBinError: a label is no class.
    """
    rows, truth = [], []
    for row, text in enumerate(judged.texts.tolist()):
        scores = dataset.labels.scores(dataset.store.fields(text)) if dataset.labels else {}
        if scores:
            rows.append(row)
            truth.append(max(scores, key=scores.__getitem__))
    return torch.tensor(rows, dtype=torch.int64), torch.tensor(truth, dtype=torch.int64)
