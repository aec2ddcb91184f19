"""``mvlm-eval entailment``: accuracy, classes and confusions of visual entailment."""

import argparse

from torch import Tensor

from ..evaluation.classification import Score, confusion, linked, score, scores_by
from .base import EvalCommand, Report
from .judged import (
    add_judgement_options,
    has_labels,
    judge,
    labelled_rows,
    no_figure,
    open_classifier,
    write_judgements,
)


def _table(classes: list[str], counts: Tensor, recalls: dict[str, Score]) -> list[str]:
    """What each class was taken for, a line a class."""
    width = max(map(len, classes)) + 2
    head = f"{'':{width}}{'texts':>8}{'judged right':>18}   taken for: " + "".join(
        f"{name:>{width}}" for name in classes
    )
    lines = [head]
    for name, row in zip(classes, counts.tolist(), strict=True):
        right = str(recalls[name]) if name in recalls else "-"
        lines.append(f"{name:{width}}{sum(row):8}{right:>18}{'':14}" + "".join(f"{count:{width}}" for count in row))
    return lines


def _run(arguments: argparse.Namespace) -> Report:
    classifier = open_classifier(arguments, "vl_entailment")
    dataset = classifier.dataset
    if not has_labels(dataset):
        raise no_figure(dataset, "prepare it with labels (mvlm-prep tsv --fields label), or take another --subset")
    judged = judge(classifier, arguments)
    rows, truth = labelled_rows(dataset, judged)
    classes, chosen = list(classifier.task.classes), judged.chosen[rows]
    correct = chosen == truth
    texts = judged.texts[rows].tolist()
    clusters = linked([dataset.store.images_of(text) for text in texts])
    write_judgements(arguments.judgements, texts, clusters, correct)
    total = score(correct, clusters)
    recalls = scores_by([classes[number] for number in truth.tolist()], correct, clusters)
    counts = confusion(truth, chosen, len(classes))
    figures = {
        "accuracy": total.mean,
        "accuracy_se": total.error,
        "recall": {name: recall.mean for name, recall in recalls.items()},
        "recall_se": {name: recall.error for name, recall in recalls.items()},
        "confusion": {"classes": classes, "truth_by_judgement": counts.tolist()},
    }
    lines = [f"accuracy {total} of {total.texts} texts; standard errors take texts of one image together", ""]
    lines += _table(classes, counts, recalls)
    return Report({**judged.protocol, "labelled_texts": total.texts}, figures, "\n".join(lines))


COMMAND = EvalCommand(
    name="entailment",
    summary="Accuracy of visual entailment, of each class, and which class is taken for which.",
    example="mvlm-eval entailment --path checkpoints/checkpoint_best.pt --data data-bin/snli_ve --subset test",
    add_options=add_judgement_options,
    run=_run,
)
