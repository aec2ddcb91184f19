"""``mvlm-eval nlvr2``: accuracy and consistency of true or false statements about several images."""

import argparse

from torch import Tensor

from ..data.labelled import LabelledDataset
from ..evaluation.classification import consistency, linked, score, sentence_of
from .base import EvalCommand, Report, write_whole
from .judged import (
    add_judgement_options,
    has_labels,
    judge,
    labelled_rows,
    no_figure,
    open_classifier,
    write_judgements,
)

_BY_IDENTIFIER = "the sentence of the identifier split-set-pair-sentence, as the official scorer"
_BY_TEXT = "equal texts, since these data have no identifiers such as dev-850-2-0"


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_judgement_options(parser)
    parser.add_argument(
        "--predictions", metavar="FILE", help="also write the judgements as the official scorer reads them: CSV lines "
        "identifier,True; a split without labels gives this file alone",
    )  # fmt: skip


def _identifiers(dataset: LabelledDataset) -> dict[int, str] | None:
    """NLVR2's identifier of each text; None where any lacks one."""
    found = {}
    for text in dataset.texts.tolist():
        name = (dataset.store.fields(text) or {}).get("identifier")
        if not isinstance(name, str) or sentence_of(name) is None:
            return None
        found[text] = name
    return found


def _check_identifiers(dataset: LabelledDataset, identifiers: dict[int, str] | None) -> dict[int, str]:
    """Raises ValueError where the official file cannot be written."""
    where = f"split {dataset.store.name} of {dataset.store.folder}"
    fix = "prepare it from the official files with mvlm-prep nlvr2, or leave out --predictions"
    if identifiers is None:
        raise ValueError(f"{where} has texts without an identifier such as dev-850-2-0, which the file needs; {fix}")
    if len(set(identifiers.values())) < len(identifiers):
        raise ValueError(f"{where} has an identifier more than once; {fix}")
    return identifiers


def _write_predictions(path: str, judgements: dict[str, str]) -> None:
    write_whole(path, "".join(f"{identifier},{said.capitalize()}\n" for identifier, said in judgements.items()))


def _sentences(dataset: LabelledDataset, texts: list[int], identifiers: dict[int, str] | None) -> list[str | bytes]:
    """What makes texts the same sentence; see _BY_IDENTIFIER and _BY_TEXT."""
    if identifiers is None:
        return [dataset.store.captions.tokens(text).tobytes() for text in texts]
    return [sentence_of(identifiers[text]) or "" for text in texts]


def _run(arguments: argparse.Namespace) -> Report:
    classifier = open_classifier(arguments, "vl_nlvr2")
    dataset = classifier.dataset
    identifiers = _identifiers(dataset)
    if arguments.predictions:
        _check_identifiers(dataset, identifiers)
    elif not has_labels(dataset):
        raise no_figure(dataset, "--predictions FILE writes the judgements, and another --subset may have labels")
    judged = judge(classifier, arguments)
    texts, protocol = judged.texts.tolist(), judged.protocol
    lines = []
    if arguments.predictions and identifiers is not None:
        said = [classifier.task.classes[number] for number in judged.chosen.tolist()]
        _write_predictions(
            arguments.predictions, {identifiers[text]: word for text, word in zip(texts, said, strict=True)}
        )
        lines = [f"wrote {len(texts)} judgements to {arguments.predictions}"]
    rows, truth = labelled_rows(dataset, judged)
    if not len(rows):
        return Report(protocol, {}, "\n".join([*lines, "the split has no labels: no figure"]))
    labelled = [texts[row] for row in rows.tolist()]
    sentences = _sentences(dataset, labelled, identifiers)
    correct = judged.chosen[rows] == truth
    clusters = linked([(said, *dataset.store.images_of(t)) for said, t in zip(sentences, labelled, strict=True)])
    write_judgements(arguments.judgements, labelled, clusters, correct)
    figures, text = _figures(correct, sentences, clusters)
    protocol |= {"labelled_texts": len(labelled), "consistency_by": _BY_TEXT if identifiers is None else _BY_IDENTIFIER}
    return Report(protocol, figures, "\n".join([text, *lines]))


def _figures(correct: Tensor, sentences: list[str | bytes], clusters: Tensor) -> tuple[dict[str, float | int], str]:
    """Figures by name, and for people."""
    total = score(correct, clusters)
    consistent, count = consistency(correct, sentences)
    figures = {
        "accuracy": total.mean, "accuracy_se": total.error, "consistency": consistent, "sentences": count,
    }  # fmt: skip
    text = (
        f"accuracy    {total} of {total.texts} texts; the standard error takes texts that share a sentence or an image "
        f"together\nconsistency {100 * consistent:.2f} % of {count} sentences are judged right with all of their images"
    )
    return figures, text


COMMAND = EvalCommand(
    name="nlvr2",
    summary="Accuracy and consistency of NLVR2: statements about several images that are true or false.",
    example="mvlm-eval nlvr2 --path checkpoints/checkpoint_best.pt --data data-bin/nlvr2 --subset dev "
    "--predictions predictions.csv",
    add_options=_add_options,
    run=_run,
)
