import json
from pathlib import Path
from typing import Any

import pytest

from mvlm_plugin.evaluation.answer_file import read_answers, write_answers

QUESTIONS = [7000, 7001, 12]


def entry(question: Any, answer: Any = "yes") -> dict[str, Any]:
    return {"question_id": question, "answer": answer}


def test_what_is_written_is_the_official_form_and_is_read_again(tmp_path: Path) -> None:
    answers = {7000: "yes", 12: "café", 7001: "2"}
    path = tmp_path / "answers.json"
    write_answers(path, answers, QUESTIONS)
    assert json.loads(path.read_text()) == [entry(7000), entry(12, "café"), entry(7001, "2")]
    assert read_answers(path, QUESTIONS) == answers
    assert [file.name for file in tmp_path.iterdir()] == ["answers.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([entry(7000), entry(12)], "lacks 1 of 3 questions, such as 7001"),
        ([entry(7000), entry(12), entry(7001), entry(9)], "answers 1 questions that are not of this split, such as 9"),
        ([entry(7000), entry(12), entry(7001), entry(12, "no")], "1 questions more than once"),
        ([entry(7000), entry("12"), entry(7001)], "entry 1 of"),
        ([entry(7000), entry(12, 3), entry(7001)], "entry 1 of"),
        ([entry(True), entry(12), entry(7001)], "entry 0 of"),
        ([entry(7000), 12, entry(7001)], "entry 1 of"),
        ({"answers": []}, "holds no list"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        read_answers(path, QUESTIONS)


@pytest.mark.parametrize("data", [b"", b"[", b"\xff\xfe", b"[" * 100_000, b'[{"question_id": ' + b"9" * 9000 + b"}]"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "answers.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is not JSON"):
        read_answers(path, QUESTIONS)


def test_answers_that_do_not_fit_are_not_published(tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    path.write_text("earlier")
    with pytest.raises(ValueError, match="lacks 2 of 3 questions, such as 12, 7001"):
        write_answers(path, {7000: "yes"}, QUESTIONS)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("answers.json", "earlier")]
