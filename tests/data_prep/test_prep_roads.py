"""The same pictures and captions through every general reader give the same training data."""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from prep_helpers import (
    SHARED_DATA,
    add_member,
    counts_of,
    manifest_of,
    stored_images,
    stored_pairs,
    write_image,
)

from data_prep.cli import main
from tests.cli.commands import logged, run, train_command

FLICKR = SHARED_DATA / "flickr8k"
PHOTOS = 300
WORDS = ["dog", "cat", "red ball", "two men", "tree", "caf\u00e9"]
RunPrepare = Callable[..., Path]


class Photo(NamedTuple):
    """Name, split, captions and bytes."""

    name: str
    split: str
    captions: list[str]
    data: bytes


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Photo]]:
    """Forty pictures, of which the last eight are valid, in the folder ``images``."""
    folder = tmp_path_factory.mktemp("photos")
    made = []
    for number in range(40):
        name = f"{number:03d}.{'png' if number % 3 else 'jpg'}"
        data = write_image(folder / "images" / name, number)
        captions = [f"A {WORDS[(number + more) % 6]} near number {number % 7}." for more in range(1 + number % 3)]
        made.append(Photo(name, "train" if number < 32 else "val", captions, data))
    return folder, made


def tsv(folder: Path, photos: list[Photo]) -> list[str]:
    captions = [f"{photo.name}\t{caption}\n" for photo in photos for caption in photo.captions]
    (folder / "captions.tsv").write_text("".join(captions), encoding="utf-8")
    (folder / "splits.tsv").write_text("".join(f"{photo.name}\t{photo.split}\n" for photo in photos))
    return ["tsv", "--captions", f"{folder}/captions.tsv", "--splits", f"{folder}/splits.tsv"]


def karpathy(folder: Path, photos: list[Photo]) -> list[str]:
    images = [
        {"filename": photo.name, "split": photo.split, "sentences": [{"raw": caption} for caption in photo.captions]}
        for photo in photos
    ]
    (folder / "set.json").write_text(json.dumps({"images": images}))
    return ["karpathy", "--json", f"{folder}/set.json"]


def coco(folder: Path, photos: list[Photo]) -> list[str]:
    for split in ("train", "val"):
        chosen = [(number, photo) for number, photo in enumerate(photos) if photo.split == split]
        images = [{"id": number, "file_name": photo.name} for number, photo in chosen]
        annotations = [
            {"id": 10 * number + place, "image_id": number, "caption": caption}
            for number, photo in reversed(chosen)
            for place, caption in enumerate(photo.captions)
        ]
        (folder / f"{split}.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return ["coco", "--json", f"{folder}/train.json", "--json", f"valid={folder}/val.json"]


def records(photos: list[Photo]) -> list[dict[str, str]]:
    return [
        {"image": photo.name, "caption": caption, "set": photo.split} for photo in photos for caption in photo.captions
    ]


def jsonl(folder: Path, photos: list[Photo]) -> list[str]:
    lines = [
        json.dumps({"image": photo.name, "caption": photo.captions, "set": photo.split}) + "\n" for photo in photos
    ]
    (folder / "set.jsonl").write_text("".join(lines))
    return ["jsonl", "--data", f"{folder}/set.jsonl", "--split-column", "set"]


def comma_separated(folder: Path, photos: list[Photo]) -> list[str]:
    with open(folder / "set.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["set", "caption", "image"])
        writer.writeheader()
        writer.writerows(records(photos))
    return ["csv", "--data", f"{folder}/set.csv", "--split-column", "set"]


def parquet_of_paths(folder: Path, photos: list[Photo]) -> list[str]:
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(records(photos)), folder / "set.parquet")
    return ["parquet", "--data", f"{folder}/set.parquet", "--split-column", "set"]


def parquet_of_images(folder: Path, photos: list[Photo]) -> list[str]:
    arrow = pytest.importorskip("pyarrow")
    for split in ("train", "val"):
        rows = [
            {"image": {"bytes": photo.data, "path": photo.name}, "caption": photo.captions}
            for photo in photos
            if photo.split == split
        ]
        pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(rows), folder / f"{split}.parquet")
    return ["parquet", "--data", f"{folder}/train.parquet", "--data", f"valid={folder}/val.parquet"]


def webdataset(folder: Path, photos: list[Photo], split_field: bool = False) -> list[str]:
    """Ten samples an archive; archives may hold several splits only where a field tells them."""
    for start in range(0, len(photos), 8):
        name = f"{start:06d}.tar" if split_field else f"{photos[start].split}-{start:06d}.tar"
        with tarfile.open(folder / name, "w") as archive:
            for photo in photos[start : start + 8]:
                stem = Path(photo.name).stem
                add_member(archive, photo.name, photo.data)
                add_member(archive, f"{stem}.txt", "\n".join(photo.captions).encode())
                if split_field:
                    add_member(archive, f"{stem}.json", json.dumps({"split": photo.split}).encode())
    if split_field:
        return ["webdataset", "--tars", f"{folder}/*.tar", "--split-field", "split"]
    return ["webdataset", "--tars", f"{folder}/train-*.tar", "--tars", f"valid={folder}/val-*.tar"]


def folder_of_images(folder: Path, photos: list[Photo]) -> list[str]:
    for photo in photos:
        path = folder / photo.split / photo.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo.data)
        path.with_suffix(".txt").write_text("\n".join(photo.captions), encoding="utf-8")
    return ["folder", "--images", str(folder), "--split-by-folder"]


ROADS: dict[str, Callable[[Path, list[Photo]], list[str]]] = {
    "karpathy": karpathy,
    "coco": coco,
    "jsonl": jsonl,
    "csv": comma_separated,
    "parquet of paths": parquet_of_paths,
    "parquet of images": parquet_of_images,
    "webdataset": webdataset,
    "webdataset, referred to": lambda folder, photos: [*webdataset(folder, photos), "--image-store", "reference"],
    "webdataset with a field": lambda folder, photos: webdataset(folder, photos, split_field=True),
    "folder": folder_of_images,
}
HOLD_IMAGES = ("parquet of images", "webdataset", "folder")


def assert_same_training_data(databin: Path, other: Path) -> None:
    assert counts_of(databin) == counts_of(other)
    assert counts_of(databin, "captions") == counts_of(other, "captions")
    for split in manifest_of(other)["splits"]:
        assert stored_images(databin, split) == stored_images(other, split)
        for kind in ("text.bin", "text.idx", "pairs.npy", "hashes.npy"):
            assert (databin / f"{split}.{kind}").read_bytes() == (other / f"{split}.{kind}").read_bytes(), kind
    for name in ("dict.txt", "tokenizer.spm"):
        assert (databin / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def by_tsv(photos: tuple[Path, list[Photo]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data-bin that the tab-separated source gives."""
    folder, made = photos
    dest = tmp_path_factory.mktemp("tsv")
    arguments = [*tsv(dest, made), "--images", str(folder / "images"), "--vocab-size", "80"]
    assert main([*arguments, "--dest", str(dest / "bin")]) == 0
    pairs = [(photo.data, caption.lower()) for photo in made if photo.split == "val" for caption in photo.captions]
    assert stored_pairs(dest / "bin", "valid") == pairs
    return dest / "bin"


@pytest.mark.parametrize("road", ROADS)
def test_every_road_leads_to_the_same_training_data(
    photos: tuple[Path, list[Photo]], by_tsv: Path, tmp_path: Path, prepare: RunPrepare, road: str
) -> None:
    folder, made = photos
    (tmp_path / "raw").mkdir()
    arguments = [*ROADS[road](tmp_path / "raw", made), "--vocab-size", "80", "--workers", "2"]
    if not road.startswith(HOLD_IMAGES):
        arguments += ["--images", str(folder / "images"), "--part-images", "9"]
    assert_same_training_data(prepare(arguments), by_tsv)


@pytest.mark.skipif(not FLICKR.is_dir(), reason="flickr8k is not in MVLM_SHARED_DATA")
def test_training_on_photos_in_archives_repeats_training_on_files(tmp_path: Path, prepare: RunPrepare) -> None:
    captions: dict[str, list[str]] = {}
    for line in (FLICKR / "captions.tsv").read_text(encoding="utf-8").splitlines():
        name, caption = line.split("\t")
        captions.setdefault(name, []).append(caption)
    splits = dict(line.split("\t") for line in (FLICKR / "splits.tsv").read_text(encoding="utf-8").splitlines())
    chosen = [
        Photo(Path(name).name, splits[name], texts, (FLICKR / name).read_bytes())
        for name, texts in list(captions.items())[:PHOTOS]
    ]
    for name in ("files", "archives"):
        (tmp_path / name).mkdir()
    common = ["--vocab-size", "800", "--workers", "2"]
    files = prepare(
        [*tsv(tmp_path / "files", chosen), "--images", str(FLICKR / "images"), *common, "--part-images", "64"], name="a"
    )
    archives = prepare(
        [*webdataset(tmp_path / "archives", chosen, split_field=True), "--image-store", "reference", *common], name="b"
    )
    assert_same_training_data(archives, files)
    logs = []
    for databin in (files, archives):
        output = run(train_command(databin, tmp_path / "checkpoints", "--disable-validation", "--no-save", updates=3))
        logs.append([_lasting(entry) for entry in logged(output, "train_inner")])
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
    assert len(logs[0]) == 3
    assert logs[0] == logs[1]
    assert all("loss" in entry for entry in logs[0])


def _lasting(entry: dict[str, object]) -> dict[str, object]:
    """A log entry without what depends on the clock."""
    return {key: value for key, value in entry.items() if key not in {"wps", "ups", "train_wall", "wall"}}
