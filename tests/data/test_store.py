import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.line_file import LineFileWriter
from mvlm_plugin.data.store import PairStore
from tests.helpers import caption_words, colour, make_dictionary, png, write_databin


def test_a_pair_is_its_images_tokens_names_and_fields(tiny_databin: Path) -> None:
    store = PairStore(tiny_databin, "train")
    dictionary = make_dictionary()
    assert len(store) == 48
    assert store.images_of(5) == [2]
    assert store.images.read(2) == png(colour(2))
    assert store.tokens(5, 0, 16).tolist() == [0, *(dictionary.index(f"w{w}") for w in caption_words(5)), 2]
    assert store.names[2] == "train2.png"
    assert store.fields(5) == {"number": 5}
    assert store.hashes["perceptual"].tolist() == list(range(24))


def test_a_store_travels_to_other_processes_by_its_path(tiny_databin: Path) -> None:
    pickled = pickle.dumps(PairStore(tiny_databin, "val"))
    assert len(pickled) < 500
    assert pickle.loads(pickled).images_of(47) == [23]


def test_an_alias_opens_its_split(tiny_databin: Path) -> None:
    assert PairStore(tiny_databin, "val").name == "valid"


def test_a_text_may_have_several_images(tiny_databin: Path) -> None:
    np.save(tiny_databin / "train.pairs.npy", np.arange(96).reshape(48, 2) % 24)
    store = PairStore(tiny_databin, "train")
    assert store.images_of(3) == [6, 7]


def test_without_label_fields_there_are_none(tiny_databin: Path) -> None:
    manifest = json.loads((tiny_databin / "manifest.json").read_text())
    manifest["splits"]["train"]["fields"] = {}
    (tiny_databin / "manifest.json").write_text(json.dumps(manifest))
    for suffix in ("bin", "idx"):
        (tiny_databin / f"train.fields.{suffix}").unlink()
    assert PairStore(tiny_databin, "train").fields(0) is None


@pytest.mark.parametrize("line", ["", "{", "[1]", "[" * 100_000])
def test_damaged_label_fields_are_refused_when_they_are_read(tiny_databin: Path, line: str) -> None:
    writer = LineFileWriter(tiny_databin / "train.fields")
    writer.extend([line] * 48)
    writer.close()
    with pytest.raises(DataBinError, match="label fields of caption 7"):
        PairStore(tiny_databin, "train").fields(7)


def test_images_may_stay_where_they_are(tmp_path: Path) -> None:
    folder = write_databin(tmp_path / "databin", images=6, image_root=tmp_path / "images")
    assert PairStore(folder, "train").images.read(3) == png(colour(3))
    (tmp_path / "images" / "train3.png").unlink()
    with pytest.raises(DataBinError, match=r"train3\.png cannot be read"):
        PairStore(folder, "train")


@pytest.mark.parametrize("image", [-1, 24])
def test_a_pair_outside_the_images_is_refused_when_it_is_read(tiny_databin: Path, image: int) -> None:
    pairs = np.load(tiny_databin / "train.pairs.npy")
    pairs[9] = image
    np.save(tiny_databin / "train.pairs.npy", pairs)
    store = PairStore(tiny_databin, "train")
    assert store.images_of(8) == [4]
    with pytest.raises(DataBinError, match=r"caption 9 of split train .*there are 24; check .* mvlm-prep verify"):
        store.images_of(9)


BY_COLUMNS = np.asfortranarray(np.zeros((48, 2), int))


@pytest.mark.parametrize(
    "pairs", [np.arange(47), np.zeros(48), np.zeros((48, 1, 1), int), np.zeros((48, 0), int), BY_COLUMNS]
)
def test_another_pairs_table_is_refused(tiny_databin: Path, pairs: np.ndarray) -> None:
    np.save(tiny_databin / "train.pairs.npy", pairs)
    with pytest.raises(DataBinError, match="pairs table of split train"):
        PairStore(tiny_databin, "train")


@pytest.mark.parametrize("table", ["pairs", "hashes"])
def test_damaged_tables_are_refused(tiny_databin: Path, table: str) -> None:
    path = tiny_databin / f"train.{table}.npy"
    whole = path.read_bytes()
    for data in (b"", whole[:-1], b"\x93NUMPY" + bytes(100)):
        path.write_bytes(data)
        with pytest.raises(DataBinError, match=rf"train\.{table}\.npy cannot be read"):
            PairStore(tiny_databin, "train")
    np.save(path, np.array([{}] * 48), allow_pickle=True)
    with pytest.raises(DataBinError, match=rf"train\.{table}\.npy cannot be read"):
        PairStore(tiny_databin, "train")


def test_tables_of_another_length_are_refused(tiny_databin: Path) -> None:
    hashes = np.load(tiny_databin / "train.hashes.npy")
    np.save(tiny_databin / "train.hashes.npy", hashes[:-1])
    with pytest.raises(DataBinError, match=r"the hashes of split train .* for 24 images"):
        PairStore(tiny_databin, "train")
    np.save(tiny_databin / "train.hashes.npy", hashes)
    for part, count, message in (("names", 23, "23 names"), ("fields", 49, "49 label fields")):
        writer = LineFileWriter(tiny_databin / f"valid.{part}")
        writer.extend(["{}"] * count)
        writer.close()
        with pytest.raises(DataBinError, match=message):
            PairStore(tiny_databin, "valid")
        write_databin(tiny_databin, splits=["train", "valid"])


def test_a_pairs_table_that_is_cut_short_while_open_is_refused(tiny_databin: Path) -> None:
    store = PairStore(tiny_databin, "train")
    os.truncate(tiny_databin / "train.pairs.npy", 128 + 8 * 47)
    for caption in (46, 47):
        with pytest.raises(DataBinError, match=r"train\.pairs\.npy is truncated"):
            store.images_of(caption)


def read_all(store: PairStore) -> list[tuple]:
    return [(store.images_of(caption), store.tokens(caption, 0, 16).tolist()) for caption in range(48)]


@pytest.mark.parametrize("name", ["train.pairs.npy", "train.text.bin", "train.text.idx"])
def test_a_table_that_is_written_to_while_open_is_refused_and_one_replaced_read_as_it_was(
    tiny_databin: Path, name: str
) -> None:
    path = tiny_databin / name
    before = read_all(PairStore(tiny_databin, "train"))
    data, other = path.read_bytes(), tiny_databin / "other"
    other.write_bytes(data[:128] + data[-1:127:-1])  # as long, and a table of other entries
    store = PairStore(tiny_databin, "train")
    other.replace(path)
    assert read_all(store) == before
    path.write_bytes(data)
    store = PairStore(tiny_databin, "train")
    time.sleep(0.01)  # file systems tell times of change some milliseconds apart
    path.write_bytes(data[:128] + data[-1:127:-1])
    with pytest.raises(DataBinError, match=rf"{name} is truncated or was written to while in use"):
        read_all(store)


def test_numbers_outside_are_refused(tiny_databin: Path) -> None:
    store = PairStore(tiny_databin, "train")
    for index in (-1, 48):
        with pytest.raises(IndexError):
            store.images_of(index)
    for image in (-1, 24):
        with pytest.raises(IndexError):
            store.images.record(image)
