"""The reader of tab-separated captions, and lines of text files in general."""

from collections import Counter
from pathlib import Path

import fsspec
import pytest
from prep_helpers import SHARED_DATA
from reading_helpers import read_all
from source_helpers import build, peak_memory, rows

from data_prep.records import PrepError, Row
from data_prep.sources import text_lines
from data_prep.sources.tsv import COMMAND


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    captions = write(tmp_path / "c.tsv", "\ufeffa.jpg\tone\nb.jpg\t two \r\n\na.jpg\tthree")
    found, rejected = rows(COMMAND, tmp_path, "--captions", captions, "--images", "i", "--subset", "dev")
    assert found == [
        Row(("a.jpg",), "valid", "one", str(captions), 1),
        Row(("b.jpg",), "valid", " two ", str(captions), 2),
        Row(("a.jpg",), "valid", "three", str(captions), 4),
    ]
    assert rejected == []


def test_splits_are_joined_and_bad_ones_listed(tmp_path: Path) -> None:
    captions = write(tmp_path / "c.tsv", "i/a.jpg\t1\n./i//b.jpg\t2\ni/c.jpg\t3\ni/d.jpg\t4\n")
    splits = write(
        tmp_path / "s.tsv", "i/a.jpg\tval\ni/./b.jpg\t test \r\ni/c.jpg\t../x\ni/a.jpg\ttrain\ni/a.jpg\tdev\n"
    )
    arguments = ["--captions", captions, "--images", "i", "--splits", splits]
    found, rejected = rows(COMMAND, tmp_path, *arguments)
    assert [(row.text, row.split) for row in found] == [("1", "valid"), ("2", "test")]
    assert [(Path(entry["source"]).name, entry["position"]) for entry in rejected] == [
        ("s.tsv", 3), ("s.tsv", 4), ("c.tsv", 3), ("c.tsv", 4),
    ]  # fmt: skip
    assert "already in split 'valid', not 'train'" in rejected[1]["reason"]
    assert build(COMMAND, *arguments).files == {"captions": str(captions), "splits": str(splits)}
    with pytest.raises(SystemExit):
        build(COMMAND, *arguments, "--subset", "x")
    with pytest.raises(PrepError, match="--subset"):
        build(COMMAND, *arguments[:4], "--subset", "a/b")


def test_bad_lines_are_listed_with_their_numbers(tmp_path: Path) -> None:
    content = b"no tab\na\ttwo\ttabs\n\tno image\n  \na\tnot \xff utf-8\n\xef\xbb\xbfb\tmark inside\n"
    captions = write(tmp_path / "c.tsv", content)
    found, rejected = rows(COMMAND, tmp_path, "--captions", captions, "--images", "i")
    assert [row.position for row in found] == [6]
    assert {entry["position"]: entry["reason"] for entry in rejected} == {
        1: "expected 2 tab-separated fields, found 1",
        2: "expected 2 tab-separated fields, found 3; name the further columns with --fields",
        3: "the image name is empty",
        5: "not UTF-8: invalid start byte at byte 6",
    }


def test_further_columns_become_label_fields(tmp_path: Path) -> None:
    captions = write(tmp_path / "c.tsv", "a.jpg\twhat is it\tcup\t6\na.jpg\thow many\t6\n")
    found, rejected = rows(COMMAND, tmp_path, "--captions", captions, "--images", "i", "--fields", "answer, count")
    assert [row.fields for row in found] == [{"answer": "cup", "count": "6"}]
    assert [entry["reason"] for entry in rejected] == ["expected 4 tab-separated fields, found 3"]
    for wrong in ("a,,b", "a,a", ""):
        with pytest.raises(SystemExit):
            build(COMMAND, "--captions", captions, "--images", "i", "--fields", wrong)


def test_a_file_in_a_store_is_read(tmp_path: Path) -> None:
    with fsspec.open("memory://tsv/c.tsv", "wb") as file:
        file.write(b"a.jpg\tone\n")
    found, _ = rows(COMMAND, tmp_path, "--captions", "memory://tsv/c.tsv", "--images", "memory://tsv")
    assert found == [Row(("a.jpg",), "train", "one", "memory://tsv/c.tsv", 1)]


def test_a_line_without_end_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "MAX_LINE", 2**20)
    captions = tmp_path / "c.tsv"
    with open(captions, "wb") as file:
        file.write(b"a\tone\nb\t")
        for _ in range(64):
            file.write(b"x" * 2**20)
        file.write(b"\nc\ttwo\nd\t" + b"y" * 3 * 2**20)
    result: list = []
    peak = peak_memory(lambda: result.extend(rows(COMMAND, tmp_path, "--captions", captions, "--images", "i")))
    assert [(row.position, row.text) for row in result[0]] == [(1, "one"), (3, "two")]
    assert [(entry["position"], entry["reason"]) for entry in result[1]] == [
        (2, "longer than 1 MiB"), (4, "longer than 1 MiB"),
    ]  # fmt: skip
    assert peak < 16 * 2**20


def test_lines_over_block_borders_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "_BLOCK", 7)
    path = write(tmp_path / "x", "\ufeffäöü\n\n" + "€" * 9 + "\r\nend")
    found, _ = read_all(lambda log: text_lines.text_lines(str(path), log), tmp_path)
    assert found == [(1, "äöü"), (2, ""), (3, "€" * 9), (4, "end")]


@pytest.mark.parametrize(
    ("table", "fields"),
    [("daquar/train.tsv", "answer"), ("nlvr/dev.tsv", "label"), ("snli_ve/pairs.tsv", "label,explanation")],
)
def test_label_files_at_hand_are_read_completely(tmp_path: Path, table: str, fields: str) -> None:
    path = SHARED_DATA / table
    if not path.is_file():
        pytest.skip(f"{table} is not in MVLM_SHARED_DATA")
    found, rejected = rows(COMMAND, tmp_path, "--captions", path, "--images", path.parent, "--fields", fields)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert rejected == []
    assert ["\t".join([*row.images, row.text, *(row.fields or {}).values()]) for row in found] == lines
    assert Counter(tuple(row.fields or ()) for row in found) == {tuple(fields.split(",")): len(lines)}
