"""The tables that img2dataset writes beside its archives: failed downloads are listed."""

import random
from pathlib import Path

import pytest
from reading_helpers import tar_bytes
from webdataset_helpers import build, img2dataset_members, read

from data_prep.sources import img2dataset_failures


def write_table(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "url": ["http://a", "http://b", "http://c"],
        "caption": ["one", "two", None],
        "key": ["000000000", "000000001", "000000002"],
        "status": ["success", "failed_to_download", "failed_to_resize"],
        "error_message": [None, "HTTP Error 404: Not Found", None],
        "exif": ["{}", None, None],
    }
    parquet.write_table(pyarrow.table(columns), path)


def test_failed_downloads_of_img2dataset_are_listed(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(tar_bytes(img2dataset_members(1)))
    table = tmp_path / "00000.parquet"
    write_table(table)
    samples, rejected = read(tmp_path / "00000.tar")
    assert len(samples) == 1
    assert rejected == [
        {
            "source": str(table), "position": "000000001", "image": "http://b", "caption": "two",
            "reason": "failed_to_download: HTTP Error 404: Not Found",
        },
        {"source": str(table), "position": "000000002", "image": "http://c", "reason": "failed_to_resize"},
    ]  # fmt: skip
    whole = table.read_bytes()
    for seed in range(100):
        chosen = random.Random(seed)
        changed = bytearray(whole)
        for _ in range(3):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        table.write_bytes(changed)
        assert len(read(tmp_path / "00000.tar")[0]) == 1
    table.write_bytes(b"no parquet")
    assert "cannot be read" in read(tmp_path / "00000.tar")[1][0]["reason"]


def test_tables_that_cannot_be_read_without_pyarrow_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "00000.tar").write_bytes(tar_bytes(img2dataset_members(1)))
    (tmp_path / "00000.parquet").write_bytes(b"whatever")
    monkeypatch.setattr(img2dataset_failures, "find_spec", lambda name: None)
    build("--tars", str(tmp_path / "00000.tar"))
    assert "mvlm-plugin[parquet]" in caplog.text
    assert read(tmp_path / "00000.tar")[1] == []
