"""``mvlm-eval vqa``: the official accuracy of answers to questions about images, and the test server's file."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..data.answers import find_field
from ..data.databin import shard_folders
from ..data.store import PairStore
from ..data.vqa_accuracy import answer_accuracy
from ..evaluation.answer_file import read_answers, write_answers
from ..evaluation.classification import Score, linked, score, scores_by
from ..tasks.vl_vqa import VlVqaTask
from .base import EvalCommand, Report
from .judged import add_judgement_options, has_labels, judge, no_figure, open_classifier, write_judgements

_OFFICIAL = "official accuracy of VQA v2: min(people of the others that agree / 3, 1), averaged over people"
_EXACT = "share of answers equal to the one answer there is, after the official normalisation"
_KINDS = ("answer_type", "question_type")


class Answered(NamedTuple):
    """A question that has human answers: its number in the split, how right the given answer is, and its kinds."""

    text: int
    accuracy: float
    people: int
    kinds: dict[str, str]


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_judgement_options(parser)
    parser.add_argument(
        "--predictions", metavar="FILE",
        help="also write the answers as VQA's test server takes them, checked for completeness; a split without "
        "answers, such as test, gives this file alone",
    )  # fmt: skip
    parser.add_argument(
        "--check", metavar="FILE",
        help="in place of --path: check such a file against the split, and score it where the split has answers",
    )  # fmt: skip


def _question_ids(store: PairStore) -> list[int]:
    """VQA's number of every question of a split.

    Raises:
        ValueError: a question has none, or two have the same.
    """
    found = [(store.fields(text) or {}).get("question_id") for text in range(len(store))]
    ids = [number for number in found if type(number) is int]
    where = f"split {store.name} of {store.folder}"
    fix = "prepare it from VQA's official files with mvlm-prep vqa, or leave out --predictions and --check"
    if len(ids) < len(found):
        raise ValueError(f"{len(found) - len(ids)} of {len(found)} questions of {where} have no question_id; {fix}")
    if len(set(ids)) < len(ids):
        raise ValueError(f"{where} has a question_id more than once; {fix}")
    return ids


def _answered(store: PairStore, field: str, answers: Sequence[str]) -> Iterator[Answered]:
    """The questions that have human answers in a label field, with the accuracy of ``answers[text]``."""
    for text in range(len(store)):
        fields = store.fields(text) or {}
        label = fields.get(field)
        people = [str(answer) for answer in label] if isinstance(label, list) else [str(label or "")]
        if people and people != [""]:
            kinds = {name: fields[name] for name in _KINDS if isinstance(fields.get(name), str)}
            yield Answered(text, answer_accuracy(answers[text], people), len(people), kinds)


def _scored(
    store: PairStore, field: str, answers: Sequence[str], judgements: str | None
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """What to add to the protocol, the figures by name, and the figures for people; all empty without human answers.

    judgements: path of a file of each question's accuracy, see write_judgements(), or None.
    """
    questions = list(_answered(store, field, answers))
    if not questions:
        return {}, {}, "the split has no answers: no figure"
    values = torch.tensor([question.accuracy for question in questions], dtype=torch.float64)
    clusters = linked([store.images_of(question.text) for question in questions])
    write_judgements(judgements, [question.text for question in questions], clusters, values)
    people = sorted({question.people for question in questions})
    count = str(people[0]) if len(people) == 1 else f"{people[0]} to {people[-1]}"
    entries = {
        "metric": _EXACT if people == [1] else _OFFICIAL,
        "answers_per_question": count,
        "scored_questions": len(questions),
    }
    total = score(values, clusters)
    figures: dict[str, Any] = {"accuracy": total.mean, "accuracy_se": total.error}
    lines = [f"accuracy {total} of {total.texts} questions; standard errors take questions of one image together"]
    for kind in _KINDS:
        by_name = scores_by([question.kinds.get(kind) for question in questions], values, clusters)
        if by_name:
            figures[kind] = {name: part.mean for name, part in by_name.items()}
            lines += ["", kind.replace("_", " "), *(_line(name, part) for name, part in by_name.items())]
    return entries, figures, "\n".join(lines)


def _line(name: str, part: Score) -> str:
    return f"  {name:28}{part!s:>20} of {part.texts}"


def _check(arguments: argparse.Namespace) -> Report:
    """Check and score a file of answers."""
    store = PairStore(shard_folders(Path(arguments.data))[0], arguments.subset)
    ids = _question_ids(store)
    by_id = read_answers(arguments.check, ids)
    field = find_field(store, "", VlVqaTask.label_fields)
    entries, figures, text = _scored(store, field, [by_id[number] for number in ids], arguments.judgements)
    protocol = {"answers": arguments.check, "data": arguments.data, "subset": arguments.subset, "texts": len(ids)}
    done = f"{arguments.check} answers all {len(ids)} questions of {arguments.subset} once: the server will take it"
    return Report(protocol | entries, figures, f"{text}\n\n{done}")


def _answer(arguments: argparse.Namespace) -> Report:
    """Let a checkpoint answer the questions, and score and write what it says."""
    classifier = open_classifier(arguments, "vl_vqa")
    dataset = classifier.dataset
    ids = _question_ids(dataset.store) if arguments.predictions else []
    if not ids and not has_labels(dataset):
        raise no_figure(dataset, "--predictions FILE writes the answers, and another --subset may have labels")
    judged = judge(classifier, arguments)
    chosen = dict(zip(judged.texts.tolist(), judged.chosen.tolist(), strict=True))
    answers = [classifier.task.classes[chosen[text]] for text in range(len(dataset.store))]
    field = dataset.labels.field if dataset.labels else ""
    entries, figures, text = _scored(dataset.store, field, answers, arguments.judgements)
    if arguments.predictions:
        write_answers(arguments.predictions, dict(zip(ids, answers, strict=True)), ids)
        text += f"\n\nwrote {len(ids)} answers to {arguments.predictions}"
    return Report(judged.protocol | entries, figures, text)


def _run(arguments: argparse.Namespace) -> Report:
    if bool(arguments.path) == bool(arguments.check):
        raise ValueError("give either --path CKPT, to answer the questions, or --check FILE, to check answers")
    if arguments.check and arguments.predictions:
        raise ValueError("--check FILE writes no --predictions: leave one of them out")
    return _check(arguments) if arguments.check else _answer(arguments)


COMMAND = EvalCommand(
    name="vqa",
    summary="Official accuracy of answers to questions about images, and the file for VQA's test server.",
    example="mvlm-eval vqa --path checkpoints/checkpoint_best.pt --data data-bin/vqa --subset val\n"
    "  mvlm-eval vqa --path checkpoints/checkpoint_best.pt --data data-bin/vqa --subset test --predictions test.json\n"
    "  mvlm-eval vqa --check test.json --data data-bin/vqa --subset test",
    add_options=_add_options,
    run=_run,
    needs_path=False,
)
