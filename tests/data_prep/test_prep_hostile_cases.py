"""Single hostile inputs whose outcome is known to the word, beside those of test_prep_hostile.py."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hostile_forms import FORMS, Form
from hostile_items import FIRST_NUMBER, Item, good_item
from hostile_tars import TarForm, sample
from prep_helpers import counts_of, rejections
from pyarrow import parquet

from data_prep.cli import main
from mvlm_plugin.data.databin import fields_prefix
from mvlm_plugin.data.line_file import LineFile

BY_NAME: dict[str, Form] = {form.name: form for form in FORMS}
Prepare = Callable[..., Path]


def good_items(form: Form | TarForm, count: int = 6) -> list[Item]:
    return [good_item(FIRST_NUMBER + number, form.image_name) for number in range(count)]


@pytest.mark.parametrize("further", ["", '100003.png,"a dog, too",1\n'], ids=["no other", "another"])
@pytest.mark.parametrize("line", ['"{},a dog,1', '{},"a dog,1', '{},a dog,"1'])
def test_a_quotation_mark_that_is_never_closed_costs_its_line(
    tmp_path: Path, prepare: Prepare, line: str, further: str
) -> None:
    form = BY_NAME["csv"]
    items = good_items(form)
    items[1].raw = {"lines": line.format(items[1].name).encode()}
    arguments = form.write(tmp_path / "raw", items)
    with open(tmp_path / "raw" / "data.csv", "a") as file:
        file.write(further)
    databin = prepare(arguments, "--workers", "1")
    (entry,) = rejections(databin)
    assert entry["line"] == 3
    assert "never closed?" in str(entry["reason"])
    assert counts_of(databin, "captions") == {"train": 5 + bool(further)}


@pytest.mark.parametrize("text", ['"a "dog" and nil"', '"a dog" and nil', 'a "dog" and nil', '"a dog\nand ""nil"""'])
def test_quotation_marks_that_are_closed_stay(tmp_path: Path, prepare: Prepare, text: str) -> None:
    form = BY_NAME["csv"]
    items = good_items(form)
    items[1].raw = {"lines": f"{items[1].name},{text},1".encode()}
    assert rejections(prepare(form.write(tmp_path / "raw", items), "--workers", "1")) == []


@pytest.mark.parametrize("split", ["s" * 65, "s" * 20_000])
def test_a_split_name_that_is_too_long_for_a_file_is_rejected(tmp_path: Path, prepare: Prepare, split: str) -> None:
    form = BY_NAME["jsonl"]
    items = good_items(form)
    record: dict[str, Any] = {"image": items[1].name, "caption": "a dog", "split": split}
    items[1].raw = {"lines": json.dumps(record).encode()}
    (entry,) = rejections(prepare(form.write(tmp_path / "raw", items), "--workers", "1"))
    assert "up to 64" in str(entry["reason"])
    assert len(str(entry["reason"])) < 200


@pytest.mark.parametrize("label", [b"1e999", b"-Infinity", b"NaN", b"null"])
def test_labels_that_are_no_numbers_are_missing(tmp_path: Path, prepare: Prepare, label: bytes) -> None:
    form = TarForm("webdataset")
    items = good_items(form)
    for item in items:
        attributes = b'{"label": %s}' % (label if item is items[1] else b"1.5")
        item.raw = sample(item.name, item.text.encode(), item.data, attributes)
    databin = prepare(form.write(tmp_path / "raw", items), "--workers", "1")
    fields = LineFile(fields_prefix(databin, "train"))
    assert [json.loads(fields[number]) for number in (0, 1)] == [{"label": 1.5}, {}]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, _device])
@pytest.mark.parametrize("name", ["tsv", "karpathy", "jsonl"])
def test_what_may_never_end_is_no_source(
    tmp_path: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str], name: str, make: Callable[[Path], None]
) -> None:
    form = BY_NAME[name]
    arguments = form.write(tmp_path / "raw", good_items(form))
    path = next(path for path in (tmp_path / "raw").iterdir() if path.is_file())
    path.unlink()
    make(path)
    assert main([*arguments, "--dest", str(tmp_path / "bin")]) == 2
    assert f"{path} is a pipe or a device" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["raw"]


def test_a_pipe_in_the_place_of_a_table_is_listed(tmp_path: Path, prepare: Prepare) -> None:
    form = TarForm("webdataset")
    arguments = form.write(tmp_path / "raw", good_items(form))
    os.mkfifo(tmp_path / "raw" / "a.parquet")
    databin = prepare(arguments, "--workers", "1")
    (entry,) = rejections(databin)
    assert "is a pipe" in str(entry["reason"])
    assert counts_of(databin) == {"train": 6}


def test_names_of_columns_that_are_not_utf8_are_an_error(
    tmp_path: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"image": ["a.png"], "caption": ["a dog"]}), path)
    path.write_bytes(path.read_bytes().replace(b"caption", b"capti\xffn"))
    arguments = ["parquet", "--data", str(path), "--images", str(tmp_path), "--dest", str(tmp_path / "bin")]
    assert main(arguments) == 2
    assert "is not usable Parquet" in capsys.readouterr().err


def test_half_a_character_in_a_json_file_is_named(
    tmp_path: Path, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    form = BY_NAME["karpathy"]
    items = good_items(form)
    items[1].raw = {"images": rb'{"filename": "\udc00"}'}
    assert main([*form.write(tmp_path / "raw", items), "--dest", str(tmp_path / "bin")]) == 2
    assert "can't decode byte" in capsys.readouterr().err
