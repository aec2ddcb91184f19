"""The reader of Parquet: tables of paths, and files that hold the images."""

import datetime
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from source_helpers import build, peak_memory, rows, samples

from data_prep.records import BadImage, PrepError, Sample
from data_prep.sources.base import ArchiveSource, TableSource
from data_prep.sources.tables import COMMANDS

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'mvlm-plugin[parquet]'")
pytest.importorskip("pyarrow.parquet")

PARQUET = COMMANDS[2]
PNG = b"\x89PNG not decoded here"


def write(path: Path, columns: dict[str, Any], row_group_size: int | None = None) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=row_group_size)
    return path


def test_a_table_of_paths(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {
            "image": pyarrow.array(["a.jpg", "000000000009.jpg", None, "c.jpg"]).dictionary_encode(),
            "caption": [["one", "two"], ["three", None], ["x"], None], "n": [1, None, 3, 4],
            "split": ["train", "val", "val", "val"], "other": [b"\xff"] * 4,
        },
    )  # fmt: skip
    options = ["--split-column", "split", "--fields", "n"]
    found, rejected = rows(PARQUET, tmp_path, "--data", path, "--images", "i", *options)
    assert [(row.images[0], row.text, row.position, row.split, row.fields) for row in found] == [
        ("a.jpg", "one", 0, "train", {"n": 1}), ("a.jpg", "two", 0, "train", {"n": 1}),
        ("000000000009.jpg", "three", 1, "valid", {}),
    ]  # fmt: skip
    assert [entry["position"] for entry in rejected] == [1, 2, 3]
    with pytest.raises(PrepError, match="holds paths: say with --images"):
        build(PARQUET, "--data", path)


def test_images_as_hugging_face_keeps_them(tmp_path: Path) -> None:
    images = [{"bytes": PNG, "path": "COCO_val2014_000000391895.jpg"}, {"bytes": PNG + b"2", "path": None}, None,
              {"bytes": None, "path": "gone.jpg"}, {"bytes": PNG, "path": "x.jpg"}]  # fmt: skip
    columns = {
        "image": images,
        "caption": ["one", "two", "three", "four", None],
        "answers": [["a", "b"], [], None, [], []],
    }
    path = write(tmp_path / "train-00000-of-00001.parquet", columns)
    found, rejected = samples(PARQUET, tmp_path, "--data", f"val={path}", "--fields", "answers")
    missing = BadImage("missing image", "the row has no image bytes")
    assert found == [
        Sample("COCO_val2014_000000391895.jpg", PNG, None, "valid", ("one",), 0, ({"answers": ["a", "b"]},)),
        Sample("00000001", PNG + b"2", None, "valid", ("two",), 1, ({"answers": []},)),
        Sample("00000002", missing, None, "valid", ("three",), 2, ({},)),
        Sample("gone.jpg", missing, None, "valid", ("four",), 3, ({"answers": []},)),
    ]  # fmt: skip
    assert [(entry["position"], entry["image"]) for entry in rejected] == [(4, "x.jpg")]
    with pytest.raises(PrepError, match="leave out --images"):
        build(PARQUET, "--data", path, "--images", "i")


def test_images_as_img2dataset_keeps_them(tmp_path: Path) -> None:
    for part in (0, 1):
        columns = {
            "jpg": [PNG, None],
            "caption": ["one", "two"],
            "key": ["000000000", "000000001"],
            "set": ["dev", "a b"],
        }
        write(tmp_path / f"0000{part}.parquet", columns)
    options = ["--image-column", "jpg", "--caption-column", "caption,key", "--split-column", "set"]
    source = build(PARQUET, "--data", tmp_path / "{00000..00001}.parquet", *options)
    assert isinstance(source, ArchiveSource)
    assert source.archives == [("train", str(tmp_path / f"0000{part}.parquet")) for part in (0, 1)]
    assert not source.can_reference
    assert pickle.loads(pickle.dumps(source.read)).args == source.read.args  # type: ignore[attr-defined]
    found, rejected = samples(PARQUET, tmp_path, "--data", tmp_path / "*.parquet", *options)
    assert [(sample.name, sample.data, sample.split, sample.texts, sample.fields) for sample in found] == [
        ("00000000", PNG, "valid", ("one", "000000000"), None)
    ] * 2  # fmt: skip
    assert [entry["position"] for entry in rejected] == [1, 1]


def test_text_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    captions = pyarrow.array([b"one", b"\xff", b"three"], pyarrow.binary()).view(pyarrow.string())
    path = write(tmp_path / "a.parquet", {"image": ["a", "b", "c"], "caption": captions})
    found, rejected = rows(PARQUET, tmp_path, "--data", path, "--images", "i")
    assert [(row.position, row.text) for row in found] == [(0, "one"), (2, "three")]
    assert [(entry["position"], entry["reason"]) for entry in rejected] == [(1, "a text is not UTF-8")]


def test_label_fields_that_are_no_json_are_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": ["a"], "caption": ["b"], "day": [datetime.date(2020, 1, 1)]})
    found, rejected = rows(PARQUET, tmp_path, "--data", path, "--images", "i", "--fields", "day")
    assert found == []
    assert rejected[0]["reason"] == 'label field "day" is date, which is no JSON'


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": ["a"], "caption": ["b"]}, "no column 'image'.*it has: picture, caption"),
        ({"image": [1], "caption": ["b"]}, "column 'image' is int64, not text or bytes or struct"),
        ({"image": [{"path": "a"}], "caption": ["b"]}, "column 'image' is struct"),
        ({"image": ["a"], "caption": [b"b"]}, "column 'caption' is binary, not text or list of texts"),
    ],
)
def test_columns_that_do_not_fit_are_errors(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(PrepError, match=message):
        build(PARQUET, "--data", write(tmp_path / "a.parquet", columns), "--images", "i")


def test_files_of_two_kinds_are_an_error(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.parquet", {"image": ["a"], "caption": ["b"]})
    images = write(tmp_path / "b.parquet", {"image": [PNG], "caption": ["b"]})
    with pytest.raises(PrepError, match=r"b\.parquet holds images"):
        rows(PARQUET, tmp_path, "--data", paths, "--data", images, "--images", "i")
    with pytest.raises(PrepError, match=r"a\.parquet holds paths"):
        samples(PARQUET, tmp_path, "--data", images, "--data", paths)


def test_files_that_are_no_parquet_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", {"image": ["a" * 100] * 1000, "caption": [str(n) for n in range(1000)]})
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[:-20], b"x" * 1000):
        path.write_bytes(content)
        with pytest.raises(PrepError, match="is not usable Parquet"):
            build(PARQUET, "--data", path, "--images", "i")
    path.write_bytes(whole[:4] + b"\xff" * 2000 + whole[2004:])
    with pytest.raises(PrepError, match="is not usable Parquet"):
        rows(PARQUET, tmp_path, "--data", path, "--images", "i")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PrepError, match=r"mvlm-plugin\[parquet\]"):
        build(PARQUET, "--data", path, "--images", "i")


def test_a_large_row_group_is_read_a_page_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"image": [bytes([n % 256]) * 2**16 for n in range(1000)], "caption": ["x"] * 1000})
    pyarrow.parquet.write_table(table, path, write_batch_size=16, use_dictionary=False, compression="none")
    del table
    source = build(PARQUET, "--data", path)
    assert not isinstance(source, TableSource)
    before = pyarrow.total_allocated_bytes()
    arrow: list[int] = []

    def read() -> None:
        for _ in source.read(str(path), "train", None):  # type: ignore[arg-type]
            arrow.append(pyarrow.total_allocated_bytes() - before)

    assert peak_memory(read) < 8 * 2**20
    assert len(arrow) == 1000
    assert max(arrow) < 8 * 2**20
