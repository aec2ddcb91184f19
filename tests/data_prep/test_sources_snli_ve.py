"""The reader of SNLI-VE, on small files in the official format."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from source_helpers import pickled_rows

from data_prep.records import PrepError, Row
from data_prep.sources.snli_ve import COMMAND


def pair(photo: Any, label: Any, **more: Any) -> dict[str, Any]:
    return {
        "Flickr30K_ID": photo, "annotator_labels": [label], "captionID": f"{photo}.jpg#0", "gold_label": label,
        "pairID": f"{photo}.jpg#0r1n", "sentence1": "Two women are embracing.",
        "sentence1_binary_parse": "( ( Two women ) x )", "sentence2": f"It is {label}.", **more,
    }  # fmt: skip


def write(path: Path, entries: list[Any]) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(path)


def read(folder: Path, *arguments: str) -> tuple[list[Row], list[dict[str, Any]]]:
    return pickled_rows(COMMAND, folder, *arguments)


def test_the_text_is_the_hypothesis(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", [pair("4705552913", "neutral"), pair("0036979", "entailment")])
    dev = write(tmp_path / "dev.jsonl", [{**pair("7", "contradiction"), "pairID": None}])
    rows, rejected = read(tmp_path, "--jsonl", train, "--jsonl", f"dev={dev}")
    assert rejected == []
    assert rows == [
        Row(
            ("4705552913.jpg",), "train", "It is neutral.", train, 1,
            {"label": "neutral", "pair_id": "4705552913.jpg#0r1n"}, ("flickr:4705552913",),
        ),
        Row(
            ("0036979.jpg",), "train", "It is entailment.", train, 2,
            {"label": "entailment", "pair_id": "0036979.jpg#0r1n"}, ("flickr:36979",),
        ),
        Row(("7.jpg",), "valid", "It is contradiction.", dev, 1, {"label": "contradiction"}, ("flickr:7",)),
    ]  # fmt: skip


def test_what_cannot_be_used_is_listed_with_its_line(tmp_path: Path) -> None:
    bad = [
        pair("1", "-"), pair("../1", "neutral"), pair(None, "neutral"), pair("", "neutral"), pair("9" * 30, "neutral"),
        pair("1", None), pair("1", "neutral", sentence2=5), pair("\u0661", "neutral"), 3,
    ]  # fmt: skip
    path = write(tmp_path / "a.jsonl", [*bad, pair("1", "neutral")])
    rows, rejected = read(tmp_path, "--jsonl", path)
    assert [row.position for row in rows] == [len(bad) + 1]
    assert [entry["position"] for entry in rejected] == list(range(1, len(bad) + 1))
    assert rejected[0]["caption"] == "It is -."
    assert "do not agree" in rejected[0]["reason"]


def test_changed_bytes_lose_nothing_silently(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, [pair(str(number), "neutral") for number in range(6)])
    whole = path.read_bytes()
    for seed in range(300):
        chosen = random.Random(seed)
        changed = bytearray(whole)
        for _ in range(chosen.choice((1, 4))):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        path.write_bytes(changed)
        rows, rejected = read(tmp_path, "--jsonl", str(path))
        assert len(rows) == 6 or rejected


def test_a_file_without_json_lines_is_refused(tmp_path: Path) -> None:
    for content in ("", "\n\n", "4705552913\tneutral\n"):
        (tmp_path / "a.jsonl").write_text(content)
        with pytest.raises(PrepError, match="JSON lines"):
            read(tmp_path, "--jsonl", str(tmp_path / "a.jsonl"))
