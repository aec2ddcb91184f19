import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder, best_fitting_int_dtype

from mvlm_plugin.data import token_file
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.token_file import TokenFile, TokenFileWriter, token_type

ENTRIES = [[5, 6, 7], [2], [], [9, 65000, 1, 3], [4, 2]]


def write(prefix: Path, dtype: Any = np.uint16, entries: list[list[int]] = ENTRIES) -> Path:
    """All entries but the first at once."""
    writer = TokenFileWriter(prefix, dtype)
    for part in (entries[:1], entries[1:]):
        tokens = [token for entry in part for token in entry]
        writer.extend(np.array(tokens, dtype=np.int64), np.array([len(entry) for entry in part], dtype=np.int64))
    writer.close()
    return prefix


def read(file: TokenFile) -> list[list[int]]:
    return [file.tokens(i).tolist() for i in range(len(file))]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.int64])
def test_files_are_those_that_fairseq_writes(tmp_path: Path, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_file, "_CHUNK", 2)
    write(tmp_path / "ours", dtype)
    builder = MMapIndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype)
    for entry in ENTRIES:
        builder.add_item(torch.tensor(entry, dtype=torch.int64))
    builder.finalize(str(tmp_path / "theirs.idx"))
    for suffix in ("bin", "idx"):
        assert (tmp_path / f"ours.{suffix}").read_bytes() == (tmp_path / f"theirs.{suffix}").read_bytes()
    assert [entry.tolist() for entry in MMapIndexedDataset(str(tmp_path / "ours"))] == ENTRIES
    assert read(TokenFile(tmp_path / "theirs")) == ENTRIES


def test_entries_come_back_by_number(tmp_path: Path) -> None:
    file = pickle.loads(pickle.dumps(TokenFile(write(tmp_path / "train.text"))))
    assert file.tokens(3).tolist() == ENTRIES[3]
    assert file.tokens(3).dtype == file.dtype == np.uint16
    assert file.sizes.tolist() == [3, 1, 0, 4, 2]
    for index in (-1, 5):
        with pytest.raises(IndexError):
            file.tokens(index)


def test_no_entries_are_valid(tmp_path: Path) -> None:
    assert len(TokenFile(write(tmp_path / "train.text", entries=[]))) == 0


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose uint16"):
        TokenFileWriter(tmp_path / "x", np.float32)
    writer = TokenFileWriter(tmp_path / "x", np.uint16)
    for tokens, sizes, message in (([1, 2], [1], "add up"), ([1], [2, -1], "add up"), ([65536], [1], "do not fit")):
        with pytest.raises(ValueError, match=message):
            writer.extend(np.array(tokens), np.array(sizes))


def test_a_file_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    writer = TokenFileWriter(tmp_path / "x", np.uint16)
    writer.extend(np.array([1]), np.array([1]))
    writer._index.flush()
    with pytest.raises(DataBinError, match="not the index of a token file"):
        TokenFile(tmp_path / "x")


@pytest.mark.parametrize("suffix", ["bin", "idx"])
@pytest.mark.parametrize("change", ["missing", "empty", "longer", "shorter"])
def test_files_that_do_not_fit_together_are_refused(tmp_path: Path, suffix: str, change: str) -> None:
    path = Path(f"{write(tmp_path / 'train.text')}.{suffix}")
    data = path.read_bytes()
    path.unlink()
    if change != "missing":
        path.write_bytes({"empty": b"", "longer": data + b"x", "shorter": data[:-1]}[change])
    with pytest.raises(DataBinError, match=r"train\.text"):
        TokenFile(tmp_path / "train.text")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, b"TNTIDX\0\0"), (9, b"\2"), (17, b"\7"), (18, struct.pack("<Q", 2**62)), (18, struct.pack("<Q", 4))],
    ids=["magic", "version", "type", "huge count", "count"],
)
def test_a_damaged_header_is_refused(tmp_path: Path, offset: int, value: bytes) -> None:
    path = Path(f"{write(tmp_path / 'train.text')}.idx")
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    path.write_bytes(bytes(data))
    with pytest.raises(DataBinError):
        TokenFile(tmp_path / "train.text")


@pytest.mark.parametrize(
    ("offset", "value"),
    [(26, struct.pack("<i", -1)), (26, struct.pack("<i", 10**6)), (46, struct.pack("<q", -2))],
    ids=["negative size", "huge size", "negative pointer"],
)
def test_a_damaged_entry_is_refused_when_it_is_read(tmp_path: Path, offset: int, value: bytes) -> None:
    path = Path(f"{write(tmp_path / 'train.text')}.idx")
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    path.write_bytes(bytes(data))
    file = TokenFile(tmp_path / "train.text")
    assert file.tokens(1).tolist() == [2]
    with pytest.raises(DataBinError, match=r"entry 0 of .* is damaged"):
        file.tokens(0)


def test_a_file_cut_short_while_open_is_refused(tmp_path: Path) -> None:
    file = TokenFile(write(tmp_path / "train.text"))
    (tmp_path / "train.text.bin").write_bytes(b"")
    with pytest.raises(DataBinError, match=r"text\.bin is truncated"):
        file.tokens(0)


@pytest.mark.parametrize("vocabulary", [1, 65499, 65500, 200_000])
def test_tokens_are_stored_in_the_type_that_fairseq_chooses(vocabulary: int) -> None:
    assert token_type(vocabulary) == np.dtype(best_fitting_int_dtype(vocabulary))
