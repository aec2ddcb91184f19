"""The readers of JSON Lines and CSV."""

import json
from pathlib import Path

import pytest
from source_helpers import build, check_example, rows

from data_prep.records import PrepError
from data_prep.sources import csv_records, text_lines
from data_prep.sources.tables import COMMANDS

JSONL, CSV, _ = COMMANDS


def write_lines(path: Path, *lines: object) -> Path:
    """A line each: text and bytes as they are, others as JSON."""
    with open(path, "wb") as file:
        for line in lines:
            text = line if isinstance(line, str | bytes) else json.dumps(line)
            file.write((text if isinstance(text, bytes) else text.encode()) + b"\n")
    return path


def test_jsonl_takes_captions_from_texts_lists_and_several_columns(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"file": "COCO_train2014_000000000009.jpg", "title": "one", "more": ["two", "three"], "n": 1, "ok": True},
        "",
        {"file": "b.jpg", "title": None, "more": "four", "n": None, "who": {"a": [1.5]}},
        {"file": "c.jpg", "title": "five", "more": [6, "seven"]},
    )
    options = [
        "--image-column",
        "file",
        "--caption-column",
        "title",
        "--caption-column",
        "more",
        "--fields",
        "n,ok,who",
    ]
    found, rejected = rows(JSONL, tmp_path, "--data", f"val={path}", "--images", "i", *options)
    assert [(row.images[0], row.text, row.position, row.split, row.fields) for row in found] == [
        *(("COCO_train2014_000000000009.jpg", text, 1, "valid", {"n": 1, "ok": True})
          for text in ("one", "two", "three")),
        ("b.jpg", "four", 3, "valid", {"who": {"a": [1.5]}}),
        ("c.jpg", "five", 4, "valid", {}),
        ("c.jpg", "seven", 4, "valid", {}),
    ]  # fmt: skip
    assert [(entry["position"], entry["reason"]) for entry in rejected] == [
        (4, 'a caption in "more" is int, not a text')
    ]


def test_jsonl_lists_what_it_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE", 2**20)
    good = {"image": "a.jpg", "caption": "good", "label": "x"}
    path = write_lines(
        tmp_path / "a.jsonl", "[" * 100_000, '{"image": "a.jpg", "caption": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "17", "{", b'{"image": "\xff"}', {"caption": "no image"}, {"image": " ", "caption": "x"},
        {"image": "\ud800", "caption": "x"}, {"image": "a.jpg"}, {"image": "a.jpg", "caption": []},
        {"image": "a.jpg", "caption": 5}, {**good, "pad": "x" * 2**21},
        '{"image": "a", "caption": "b", "label": [NaN]}',
        {**good, "label": json.loads("[" * 150 + "]" * 150)}, {**good, "label": float("nan")}, good,
    )  # fmt: skip
    found, rejected = rows(JSONL, tmp_path, "--data", path, "--images", "i", "--fields", "label")
    assert [(row.position, row.fields) for row in found] == [(15, {}), (16, {"label": "x"})]
    assert [entry["position"] for entry in rejected] == list(range(1, 15))
    assert "nested" in rejected[0]["reason"]
    assert [entry["reason"] for entry in rejected[8:12]] == [
        'no caption in "caption"', 'no caption in "caption"', 'a caption in "caption" is int, not a text',
        "longer than 1 MiB",
    ]  # fmt: skip


def test_a_split_column_and_patterns(tmp_path: Path) -> None:
    for part in (0, 1):
        write_lines(
            tmp_path / f"part-{part}.jsonl",
            {"image": f"{part}.jpg", "caption": "a", "split": ["validation", "train"][part]},
            {"image": "x.jpg", "caption": "b", "split": "a/b"}, {"image": "y.jpg", "caption": "c"},
        )  # fmt: skip
    pattern = str(tmp_path / "part-*.jsonl")
    found, rejected = rows(JSONL, tmp_path, "--data", pattern, "--images", "i", "--split-column", "split")
    assert [(row.images[0], row.split) for row in found] == [("0.jpg", "valid"), ("1.jpg", "train")]
    assert [entry["position"] for entry in rejected] == [2, 3, 2, 3]
    with pytest.raises(PrepError, match="--split-column"):
        build(JSONL, "--data", f"valid={pattern}", "--images", "i", "--split-column", "split")
    with pytest.raises(PrepError, match="no file matches"):
        build(JSONL, "--data", str(tmp_path / "none-*.jsonl"), "--images", "i")
    assert list(build(JSONL, "--data", pattern, "--images", "i").files) == ["data 1", "data 2"]


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.csv", '\ufefffile, caption ,label\r', 'a.jpg,"one, ""two""\nthree",1\r', "", 'b.jpg,["x"],',
    )  # fmt: skip
    found, rejected = rows(
        CSV, tmp_path, "--data", path, "--images", "i", "--image-column", "file", "--fields", "label"
    )
    assert [(row.images[0], row.text, row.position, row.fields) for row in found] == [
        ("a.jpg", 'one, "two"\nthree', 2, {"label": "1"}), ("b.jpg", '["x"]', 5, {"label": ""}),
    ]  # fmt: skip
    assert rejected == []
    path = write_lines(tmp_path / "b.csv", "image\tcaption", 'a"b.jpg\tc')
    for delimiter in ("tab", "\\t", "\t"):
        found, _ = rows(CSV, tmp_path, "--data", path, "--images", "i", "--delimiter", delimiter)
        assert [row.text for row in found] == ["c"]
    with pytest.raises(SystemExit):
        build(CSV, "--data", path, "--images", "i", "--delimiter", ";;")


def test_csv_lists_what_it_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (text_lines, csv_records):
        monkeypatch.setattr(module, "MAX_LINE", 2**21)
    long_text = "long " * 100_000
    path = write_lines(
        tmp_path / "a.csv", "image,caption", "a.jpg", "a.jpg,b,c", b"a.jpg,\xff", b'"a\xff\nb",two lines', ",no image",
        f"a.jpg,{long_text}", "a.jpg,\0nul", b"b.jpg," + b"x" * 2**22, "d.jpg,good", 'c.jpg,"never closed',
        *["e.jpg,not swallowed"] * 200_000,
    )  # fmt: skip
    found, rejected = rows(CSV, tmp_path, "--data", path, "--images", "i")
    assert [(row.images[0], row.text) for row in found[:3]] == [
        ("a.jpg", long_text), ("a.jpg", "\0nul"), ("d.jpg", "good"),
    ]  # fmt: skip
    assert [entry["position"] for entry in rejected[:7]] == [2, 3, 4, 5, 7, 10, 12]
    assert "never closed?" in rejected[6]["reason"]
    assert {row.images[0] for row in found[3:]} == {"e.jpg"}  # the lines behind are read again
    assert len(found) == 3 + 200_000


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,text", "no column 'caption'.*it has: image, text"),
        ("image,caption,caption", "two columns"),
        ("", "no column"),
    ],
)
def test_csv_without_a_column_is_an_error(tmp_path: Path, header: str, message: str) -> None:
    path = write_lines(tmp_path / "a.csv", header, "a,b")
    with pytest.raises(PrepError, match=message):
        rows(CSV, tmp_path, "--data", path, "--images", "i")


def test_examples_can_be_pasted() -> None:
    for command in COMMANDS:
        check_example(command)
