"""Command ``vqa``: VQA v2, from its official files of questions and annotations; the text is the question."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ..disk_table import DiskTable
from ..records import PrepError, RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option, split_and_path
from .image_layout import add_image_name_option, check_image_name, has_folder
from .json_stream import items
from .option_types import files_by_role

_IMAGE_NAME = "COCO_{subtype}_{image_id:012d}.jpg"
_SUBTYPE = re.compile(r"[A-Za-z0-9_-]+")
_QUESTIONS_FIX = "give a file of questions such as v2_OpenEnded_mscoco_train2014_questions.json"
_ANNOTATIONS_FIX = "give a file of annotations such as v2_mscoco_train2014_annotations.json"
_TEXT_FIELDS = ("question_type", "answer_type", "multiple_choice_answer")


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _answers(annotation: dict[str, Any]) -> list[str] | None:
    """The answers of all annotators, or None where one has no text."""
    entries = annotation.get("answers")
    if not isinstance(entries, list):
        return None
    found = (entry.get("answer") if isinstance(entry, dict) else None for entry in entries)
    answers = [answer for answer in found if isinstance(answer, str)]
    return answers if answers and len(answers) == len(entries) else None


def _annotated(path: str, table: DiskTable, log: RejectionLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Question ids and what is kept of their annotations."""
    for position, annotation in enumerate(items(path, "annotations.item", _ANNOTATIONS_FIX)):
        where = f"annotations[{position}]"
        if not isinstance(annotation, dict) or not _is_id(annotation.get("question_id")):
            log.add("bad record", 'an annotation needs a "question_id"', path, where)
            continue
        question = annotation["question_id"]
        answers = _answers(annotation)
        if answers is None:
            log.add("bad record", f'the annotation of question {question} has no list "answers" of texts', path, where)
        elif table.get(question) is not None:
            log.add("bad record", f"question {question} already has an annotation", path, where)
        else:
            texts = {name: annotation[name] for name in _TEXT_FIELDS if isinstance(annotation.get(name), str)}
            yield question, {"image_id": annotation.get("image_id"), "fields": {"answers": answers, **texts}}


def _subtype(path: str) -> str:
    """``train2014`` of a file of questions; test-dev is a part of the images of test."""
    fix = f'{_QUESTIONS_FIX}, which has a "data_subtype"'
    subtype = next(items(path, "data_subtype", fix))
    if not isinstance(subtype, str) or not _SUBTYPE.fullmatch(subtype):
        raise PrepError(f'{path} has a "data_subtype" that is no name; {fix}')
    return subtype.replace("-dev", "")


def _namer(path: str, images: str, pattern: str | None) -> Callable[..., str]:
    """Gives the name of an image of a file of questions: ``name(image_id=9)``."""
    if pattern is not None and "{subtype" not in pattern:
        return pattern.format
    subtype = _subtype(path)
    if pattern is None:
        pattern = f"{{subtype}}/{_IMAGE_NAME}" if has_folder(images, subtype) else _IMAGE_NAME
    return partial(pattern.format, subtype=subtype)


def _rows(
    path: str, split: str, name: Callable[..., str], annotations: DiskTable | None, log: RejectionLog
) -> Iterator[Row]:
    for position, entry in enumerate(items(path, "questions.item", _QUESTIONS_FIX)):
        where = f"questions[{position}]"
        if (
            not isinstance(entry, dict)
            or not all(_is_id(entry.get(name)) for name in ("question_id", "image_id"))
            or not isinstance(entry.get("question"), str)
        ):
            log.add("bad record", 'it needs a "question_id", an "image_id" and the text "question"', path, where)
            continue
        image = name(image_id=entry["image_id"])
        fields = {"question_id": entry["question_id"]}
        if annotations is not None:
            annotation = annotations.get(entry["question_id"])
            if annotation is None:
                log.add("no annotation", "the question has no usable one", path, where, image, entry["question"])
                continue
            if annotation["image_id"] not in (None, entry["image_id"]):
                reason = f"its annotation is of another image, {annotation['image_id']!r}"
                log.add("bad record", reason, path, where, image, entry["question"])
                continue
            fields |= annotation["fields"]
        yield Row((image,), split, entry["question"], path, where, fields, (f"coco:{entry['image_id']}",))


def read_vqa(
    questions: list[tuple[str, str]],
    annotations: list[tuple[str, str]],
    images: str,
    image_name: str | None,
    log: RejectionLog,
    scratch: Path,
) -> Iterator[Row]:
    """Rows in the order of the questions; their labels are the answers of all annotators.

    Args:
        questions: (split, file of questions).
        annotations: (split, file of annotations); a split that has none, such as test, has no answers.
        images: the images folder.
        image_name: pattern of --image-name; None: the official names.
        log: takes questions and annotations that cannot be used.
        scratch: folder in which annotations are looked up.

    Raises:
        PrepError: a file is not JSON or lacks its list.
        OSError: a file cannot be read.
    """
    for split in dict.fromkeys(split for split, _ in questions):
        with closing(DiskTable(scratch / "annotations.sqlite")) as table:
            paths = [path for of_split, path in annotations if of_split == split]
            for path in paths:
                table.fill(_annotated(path, table, log))
            for path in (path for of_split, path in questions if of_split == split):
                yield from _rows(path, split, _namer(path, images, image_name), table if paths else None, log)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--questions", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help="file of questions, v2_OpenEnded_mscoco_train2014_questions.json; give it again for a further split",
    )  # fmt: skip
    parser.add_argument(
        "--annotations", type=split_and_path, action="append", default=[], metavar="[SPLIT=]FILE",
        help="their answers, v2_mscoco_train2014_annotations.json; the test questions have none",
    )  # fmt: skip
    add_images_option(parser, "folder (or URL) of the photos, or the one that holds train2014, val2014 and test2015")
    add_image_name_option(parser, _IMAGE_NAME)


def _build(args: argparse.Namespace) -> TableSource:
    check_image_name(args.image_name, {"subtype": "train2014", "image_id": 9})
    splits = [split for split, _ in args.questions]
    for split, path in args.annotations:
        if split not in splits:
            raise PrepError(
                f"--annotations {path} is of split {split}, which has no --questions: give {split}=FILE there"
            )
    return TableSource(
        kind="vqa",
        images=args.images,
        files={
            **files_by_role("questions", [path for _, path in args.questions]),
            **files_by_role("annotations", [path for _, path in args.annotations]),
        },
        read=partial(read_vqa, args.questions, args.annotations, args.images, args.image_name),
        options={
            "splits": splits,
            "annotated_splits": [split for split, _ in args.annotations],
            "image_name": args.image_name,
        },
    )


COMMAND = SourceCommand(
    name="vqa",
    summary="Prepare VQA v2 from its official questions and annotations.",
    example="mvlm-prep vqa --questions v2_OpenEnded_mscoco_train2014_questions.json "
    "--annotations v2_mscoco_train2014_annotations.json --images coco --dest data-bin/vqa",
    add_options=_add_options,
    build=_build,
)
