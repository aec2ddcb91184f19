"""The reader of NLVR2, on small files in the official format."""

import json
from pathlib import Path
from typing import Any

import pytest
from source_helpers import build, pickled_rows

from data_prep.records import PrepError, Row
from data_prep.sources.nlvr2 import COMMAND


def statement(identifier: str, **more: Any) -> dict[str, Any]:
    return {
        "validation": {"141": "True", "18": "True"}, "sentence": f"Two dogs, says {identifier}.",
        "left_url": "https://x.org/1.jpg", "right_url": "https://x.org/2.jpg", "writer": 99, "label": "True",
        "synset": "hunting dog", "query": "dogs12", "identifier": identifier, **more,
    }  # fmt: skip


def write(path: Path, entries: list[Any]) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(path)


def read(folder: Path, *arguments: str) -> tuple[list[Row], list[dict[str, Any]]]:
    return pickled_rows(COMMAND, folder, *arguments)


def test_each_statement_has_a_left_and_a_right_image(tmp_path: Path) -> None:
    train = write(tmp_path / "train.json", [statement("train-10171-0-2", directory=38)])
    dev = write(tmp_path / "dev.json", [statement("dev-850-1-0", label="False")])
    test = write(tmp_path / "test1.json", [statement("test1-0-1-3")])
    for folder in ("train", "dev"):
        (tmp_path / folder).mkdir()
    rows, rejected = read(tmp_path, "--json", train, "--json", f"dev={dev}", "--json", f"test={test}")
    assert rejected == []
    assert rows == [
        Row(
            ("train/38/train-10171-0-img0.png", "train/38/train-10171-0-img1.png"), "train",
            "Two dogs, says train-10171-0-2.", train, 1, {"identifier": "train-10171-0-2", "label": "True"},
        ),
        Row(
            ("dev/dev-850-1-img0.png", "dev/dev-850-1-img1.png"), "valid",
            "Two dogs, says dev-850-1-0.", dev, 1, {"identifier": "dev-850-1-0", "label": "False"},
        ),
        Row(
            ("test1-0-1-img0.png", "test1-0-1-img1.png"), "test",
            "Two dogs, says test1-0-1-3.", test, 1, {"identifier": "test1-0-1-3", "label": "True"},
        ),
    ]  # fmt: skip


def test_image_names_may_be_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [statement("train-1-0-2", directory=38), statement("dev-1-0-2")])
    for pattern, expected in (
        (
            "{pair}-img{side}.png",
            [("train-1-0-img0.png", "train-1-0-img1.png"), ("dev-1-0-img0.png", "dev-1-0-img1.png")],
        ),
        ("{set}/{directory}/{side}.jpg", [("train/38/0.jpg", "train/38/1.jpg"), ("dev/0.jpg", "dev/1.jpg")]),
    ):
        assert [row.images for row in read(tmp_path, "--json", path, "--image-name", pattern)[0]] == expected
    with pytest.raises(PrepError, match="--image-name"):
        build(COMMAND, "--images", "x", "--json", path, "--image-name", "{split}")


def test_what_cannot_be_used_is_listed_with_its_line(tmp_path: Path) -> None:
    bad = [
        statement("../train-1-0-0"), statement("train-1-0"), statement("x"), {"identifier": 3},
        statement("dev-1-0-0", sentence=None), statement("dev-1-0-0", label=True), statement("dev-1-0-0", label="-"),
        statement("dev-1-0-0", directory="../.."), statement("dev-1-0-0", directory=-1), [], "text",
        statement("dev-1-0-0", directory=10**40),
    ]  # fmt: skip
    path = write(tmp_path / "a.json", bad)
    with open(path, "ab") as file:
        file.write(b"\n{\n\xff\xfe\n" + b"[" * 100_000 + b"\n" + json.dumps(statement("dev-1-0-0")).encode())
    rows, rejected = read(tmp_path, "--json", path)
    assert [row.position for row in rows] == [len(bad) + 5]
    assert [entry["position"] for entry in rejected] == [*range(1, len(bad) + 1), *range(len(bad) + 2, len(bad) + 5)]


def test_a_file_without_json_lines_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[\n1\n]\n")
    with pytest.raises(PrepError, match="JSON lines"):
        read(tmp_path, "--json", str(tmp_path / "a.json"))
