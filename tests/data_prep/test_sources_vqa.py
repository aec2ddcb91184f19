"""The reader of VQA v2, on small files in the official format."""

import json
import random
from pathlib import Path
from typing import Any

import fsspec
import pytest
from reading_helpers import read_all
from source_helpers import build, pickled_rows

from data_prep.records import PrepError, Row
from data_prep.sources.vqa import COMMAND

NUMBER_OF_ANSWERS = 10


def question(number: int, image: int = 458752, text: str = "Is it on?") -> dict[str, Any]:
    return {"image_id": image, "question": f"{text} {number}", "question_id": image * 1000 + number}


def annotation(of: dict[str, Any], answer: str) -> dict[str, Any]:
    answers = [
        {"answer": f"{answer} {position}", "answer_confidence": "maybe", "answer_id": position + 1}
        for position in range(NUMBER_OF_ANSWERS)
    ]
    return {
        "question_type": "is it", "multiple_choice_answer": answer, "answers": answers,
        "image_id": of["image_id"], "answer_type": "yes/no", "question_id": of["question_id"],
    }  # fmt: skip


def write_questions(path: Path, questions: list[Any], subtype: str = "train2014") -> str:
    content = {
        "info": {"description": "This is v2.0 of the VQA dataset.", "year": 2017}, "task_type": "Open-Ended",
        "data_type": "mscoco", "license": {"name": "CC BY 4.0"}, "data_subtype": subtype, "questions": questions,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return str(path)


def write_annotations(path: Path, annotations: list[Any]) -> str:
    content = {
        "info": {},
        "license": {},
        "data_subtype": "train2014",
        "annotations": annotations,
        "data_type": "mscoco",
    }
    path.write_text(json.dumps(content))
    return str(path)


def read(folder: Path, *arguments: str) -> tuple[list[Row], list[dict[str, Any]]]:
    return pickled_rows(COMMAND, folder, *arguments)


def test_questions_get_the_answers_of_all_annotators(tmp_path: Path) -> None:
    asked = [question(2), question(0, 9), question(1)]
    questions = write_questions(tmp_path / "q.json", asked)
    annotations = write_annotations(tmp_path / "a.json", [annotation(entry, "yes") for entry in reversed(asked)])
    (tmp_path / "train2014").mkdir()
    rows, rejected = read(tmp_path, "--questions", questions, "--annotations", annotations)
    assert rejected == []
    assert [row.text for row in rows] == ["Is it on? 2", "Is it on? 0", "Is it on? 1"]
    assert rows[1] == Row(
        ("train2014/COCO_train2014_000000000009.jpg",), "train", "Is it on? 0", questions, "questions[1]",
        {
            "question_id": 9000, "answers": [f"yes {position}" for position in range(NUMBER_OF_ANSWERS)],
            "question_type": "is it", "answer_type": "yes/no", "multiple_choice_answer": "yes",
        },
        ("coco:9",),
    )  # fmt: skip


def test_splits_have_their_own_files_and_test_has_no_answers(tmp_path: Path) -> None:
    files = {
        "train": write_questions(tmp_path / "train.json", [question(0)]),
        "val": write_questions(tmp_path / "val.json", [question(0, 7)], "val2014"),
        "test": write_questions(tmp_path / "test.json", [question(0, 8)], "test-dev2015"),
    }
    arguments = [part for split, path in files.items() for part in ("--questions", f"{split}={path}")]
    for split, entry in (("train", question(0)), ("val", question(0, 7))):
        path = write_annotations(tmp_path / f"{split}-answers.json", [annotation(entry, split)])
        arguments += ["--annotations", f"{split}={path}"]
    rows, rejected = read(tmp_path, *arguments)
    assert rejected == []
    assert [(row.split, row.images[0]) for row in rows] == [
        ("train", "COCO_train2014_000000458752.jpg"),
        ("valid", "COCO_val2014_000000000007.jpg"),
        ("test", "COCO_test2015_000000000008.jpg"),
    ]
    assert [row.fields and row.fields.get("multiple_choice_answer") for row in rows] == ["train", "val", None]
    assert rows[2].fields == {"question_id": 8000}


def test_image_names_may_be_others(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "q.json", [question(0, 9)])
    for pattern, expected in (("{image_id}.png", "9.png"), ("{subtype}-{image_id:04d}", "train2014-0009")):
        assert read(tmp_path, "--questions", questions, "--image-name", pattern)[0][0].images == (expected,)
    for pattern in ("{name}", "{}", "{image_id", "{image_id.x}", "{subtype:d}"):
        with pytest.raises(PrepError, match="--image-name"):
            build(COMMAND, "--images", "x", "--questions", questions, "--image-name", pattern)


def test_what_cannot_be_used_is_listed(tmp_path: Path) -> None:
    good, lone, other, twice = question(0), question(1), question(2), question(3)
    bad = [None, [], {}, {**good, "question": 3}, {**good, "image_id": "9"}, {**good, "image_id": -1}]
    bad += [{**good, "image_id": True}, {**good, "question_id": 1.0}]
    questions = write_questions(tmp_path / "q.json", [*bad, good, lone, other, twice])
    broken = annotation(question(4), "x")
    annotations = [
        None, {"answers": []}, {**broken, "answers": "yes"}, {**broken, "answers": []},
        {**broken, "answers": [{"answer": None}]}, {**broken, "answers": ["yes"]},
        annotation(good, "yes"), {**annotation(other, "no"), "image_id": 1},
        annotation(twice, "first"), annotation(twice, "second"),
    ]  # fmt: skip
    path = write_annotations(tmp_path / "a.json", annotations)
    rows, rejected = read(tmp_path, "--questions", questions, "--annotations", path)
    assert [row.text for row in rows] == ["Is it on? 0", "Is it on? 3"]
    assert rows[1].fields is not None
    assert rows[1].fields["multiple_choice_answer"] == "first"
    by_position = {(entry["source"], entry["position"]): entry["reason"] for entry in rejected}
    assert len(rejected) == len(by_position) == len(bad) + 2 + 7
    assert "already has an annotation" in by_position[path, "annotations[9]"]
    assert "no usable one" in by_position[questions, f"questions[{len(bad) + 1}]"]
    assert "of another image, 1" in by_position[questions, f"questions[{len(bad) + 2}]"]


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    good = write_questions(tmp_path / "q.json", [question(0)])
    answers = write_annotations(tmp_path / "a.json", [annotation(question(0), "yes")])
    with pytest.raises(PrepError, match="questions"):
        read(tmp_path, "--questions", answers)
    with pytest.raises(PrepError, match="annotations"):
        read(tmp_path, "--questions", good, "--annotations", good)
    with pytest.raises(PrepError, match="split valid, which has no --questions"):
        read(tmp_path, "--questions", good, "--annotations", f"val={answers}")
    with pytest.raises(PrepError, match="data_subtype"):
        read(tmp_path, "--questions", write_questions(tmp_path / "s.json", [question(0)], "../x"))
    (tmp_path / "n.json").write_text('{"data_subtype": "train2014", "questions": ' + "[" * 100_000)
    with pytest.raises(PrepError):
        read(tmp_path, "--questions", str(tmp_path / "n.json"))


def test_changed_bytes_raise_nothing_but_one_line_errors(tmp_path: Path) -> None:
    asked = [question(number) for number in range(5)]
    paths = [tmp_path / "q.json", tmp_path / "a.json"]
    write_questions(paths[0], asked)
    write_annotations(paths[1], [annotation(entry, "yes") for entry in asked])
    whole = [path.read_bytes() for path in paths]
    for seed in range(300):
        chosen = random.Random(seed)
        which = seed % 2
        changed = bytearray(whole[which])
        for _ in range(chosen.choice((1, 3))):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        paths[which].write_bytes(changed if seed % 5 else changed[: chosen.randrange(len(changed))])
        try:
            rows, rejected = read(tmp_path, "--questions", str(paths[0]), "--annotations", str(paths[1]))
        except PrepError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert len(rows) == 5 or rejected
        paths[which].write_bytes(whole[which])


def test_files_of_an_object_store_are_read(tmp_path: Path) -> None:
    content = Path(write_questions(tmp_path / "q.json", [question(0, 9)])).read_bytes()
    with fsspec.open("memory://vqa/q.json", "wb") as file:
        file.write(content)
    with fsspec.open("memory://vqa/images/train2014/x.jpg", "wb") as file:
        file.write(b"x")
    source = build(COMMAND, "--questions", "memory://vqa/q.json", "--images", "memory://vqa/images")
    rows, _ = read_all(lambda log: source.read(log, tmp_path), tmp_path)
    assert rows[0].images == ("train2014/COCO_train2014_000000000009.jpg",)
    assert source.files == {"questions": "memory://vqa/q.json"}
