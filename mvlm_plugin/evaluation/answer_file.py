"""The answer file that VQA's server and official scorer take: ``[{"question_id": 1, "answer": "yes"}, ...]``."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_SHOWN = 5
_FORM = 'it must be a list of {"question_id": 1, "answer": "yes"}, the form that mvlm-eval vqa --predictions writes'


def _some(ids: Iterable[int]) -> str:
    ids = sorted(ids)
    return ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and type(entry.get("question_id")) is int and isinstance(entry.get("answer"), str)


def read_answers(path: str | Path, question_ids: Sequence[int]) -> dict[int, str]:
    """Answers of a file by question, after checking that it answers every question of a split once.

    Args:
        path: the file.
        question_ids: of the split; all differ.

    Raises:
        OSError: no such file.
        ValueError: the file is of another form, a question is missing, is answered twice or is not of the split.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); {_FORM}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} holds no list; {_FORM}")
    for position, entry in enumerate(entries):
        if not _is_entry(entry):
            raise ValueError(f"entry {position} of {path} has no whole number and text; {_FORM}")
    answers = {entry["question_id"]: entry["answer"] for entry in entries}
    expected = set(question_ids)
    if missing := expected - answers.keys():
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(expected)} questions, such as {_some(missing)}; "
            "the server takes only files that answer all: write it again, on this split"
        )
    if unknown := answers.keys() - expected:
        raise ValueError(
            f"{path} answers {len(unknown)} questions that are not of this split, such as {_some(unknown)}; "
            "give the split that it was written for"
        )
    if len(entries) > len(answers):
        raise ValueError(f"{path} answers {len(entries) - len(answers)} questions more than once; write it again")
    return answers


def write_answers(path: str | Path, answers: Mapping[int, str], question_ids: Sequence[int]) -> None:
    """Write the file; it gets its name only when it has passed read_answers().

    Raises:
        OSError: it cannot be written.
        ValueError: the answers do not fit the split's questions; nothing is left then.
    """
    partial = Path(f"{path}.partial")
    entries = [{"question_id": question, "answer": answer} for question, answer in answers.items()]
    try:
        partial.write_text(json.dumps(entries), encoding="utf-8")
        read_answers(partial, question_ids)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
