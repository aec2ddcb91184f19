"""Images that went bad under a run are listed with their reasons, and too many of them end it."""

import json
import os
from pathlib import Path

import pytest

from mvlm_plugin.data.image_index import ImageReadError
from mvlm_plugin.data.pair_list import read_pairs
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.guards import bad_images
from mvlm_plugin.guards.bad_images import BadImages, TooManyBadImagesError
from tests.data.test_dataset import damage, image_of
from tests.guards.runs import train, updates_of
from tests.helpers import write_databin


def test_a_few_bad_images_are_listed_with_their_pair_and_reason(
    tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = updates_of(monkeypatch)
    damage(tiny_databin, [5])
    train(tiny_databin, tmp_path / "run", updates=8, dataset__num_workers=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "bad_images.rank0.jsonl").read_text().splitlines()]
    captions = [caption for caption in range(48) if image_of(caption) == 5]
    assert {pair for line in lines for pair in line["pairs"]} == set(captions), "all were read within an epoch"
    assert not set(captions) & {pair for pairs in seen for pair in pairs}, "none was trained on"
    assert {(line["databin"], line["split"]) for line in lines} == {(str(tiny_databin), "train")}
    assert all("image 5 of train.images.idx: checksum differs" in line["reason"] for line in lines)


def test_too_many_bad_images_end_the_run(tiny_databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_images, "LEAST_READ", 20)
    damage(tiny_databin, list(range(0, 24, 4)))
    with pytest.raises(
        TooManyBadImagesError, match=r"could not be read, more than --max-bad-fraction 0\.1: .*bad_images\.rank"
    ):
        train(tiny_databin, tmp_path / "run", task__max_bad_fraction=0.1)
    assert {known.pairs[0] for known in read_pairs(tmp_path / "run" / "bad_images.rank0.jsonl")}


def test_the_pairs_of_a_mixture_are_those_of_their_data_bins(tmp_path: Path) -> None:
    folders = [write_databin(tmp_path / name) for name in ("first", "second")]
    damage(folders[1], [5])
    train(f"{folders[0]}:{folders[1]}", tmp_path / "run", updates=12, task__dataset_weights="1,1")
    listed = read_pairs(tmp_path / "run" / "bad_images.rank0.jsonl")
    assert {known.folder for known in listed} == {str(folders[1])}
    assert all(image_of(pair) == 5 for known in listed for pair in known.pairs)


def test_the_share_is_judged_over_all_updates_and_not_before_enough_were_read(tmp_path: Path) -> None:
    images = BadImages(0.01)
    images.count(10, 990, tmp_path)
    for _ in range(100):
        images.count(1, 99, tmp_path)  # 1 % all the time
    with pytest.raises(TooManyBadImagesError, match="111 of 11001 images could not be read"):
        images.count(1, 0, tmp_path)
    young = BadImages(0.01)
    young.count(10, 0, tmp_path)
    with pytest.raises(TooManyBadImagesError, match="11 of 11 images"):
        young.count(1, 0, tmp_path)
    BadImages(1.0).count(5000, 0, tmp_path)


def test_none_is_one_too_many_where_none_is_allowed(tmp_path: Path) -> None:
    images = BadImages(0.0)
    images.count(0, 10_000, tmp_path)
    with pytest.raises(TooManyBadImagesError, match="1 of 10001 images"):
        images.count(1, 0, tmp_path)


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=r"--max-bad-fraction .* must lie between 0 and 1"):
        BadImages(limit)


@pytest.mark.parametrize("way", ["in place", "by another file"])
def test_a_container_replaced_under_an_open_data_set_gives_no_wrong_pair(tmp_path: Path, way: str) -> None:
    folder, other = write_databin(tmp_path / "databin"), write_databin(tmp_path / "other")
    store = PairStore(folder, "train")
    whole = [store.images.read(image) for image in range(24)]
    for path in sorted(folder.glob("train.images*.bin")):
        swapped = other / ("train.images.001.bin" if path.name == "train.images.bin" else "train.images.bin")
        data = swapped.read_bytes()[: path.stat().st_size].ljust(path.stat().st_size, b"\0")
        if way == "in place":
            path.write_bytes(data)
        else:
            (folder / "new").write_bytes(data)
            os.replace(folder / "new", path)
    for reader in (store, PairStore(folder, "train")):
        read = [read_or_reason(reader, image) for image in range(24)]
        if way == "by another file" and reader is store:
            assert read == whole, "an open file is the old one"
        else:
            assert all(isinstance(reason, str) for reason in read)
            assert any("checksum differs" in str(reason) for reason in read)


def read_or_reason(store: PairStore, image: int) -> bytes | str:
    """The bytes of an image, or why there are none."""
    try:
        return store.images.read(image)
    except ImageReadError as error:
        return str(error)
