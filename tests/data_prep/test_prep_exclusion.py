"""--exclude from the command line to the data-bin: evaluation images stay out of train, and out of train only."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from databin_helpers import encoded, marked, scenery
from PIL import Image
from prep_helpers import (
    Source,
    add_member,
    counts_of,
    folder_bytes,
    manifest_of,
    rejections,
    stored_images,
    write_image,
)

from mvlm_plugin.data.store import PairStore

RunPrepare = Callable[..., Path]
COCO = {number: f"COCO_train2014_{number:012d}.jpg" for number in range(7, 15)}


def names(databin: Path, split: str = "train") -> list[str]:
    return [Path(name).name for name in PairStore(databin, split).names]


def coco_tsv(folder: Path) -> list[str]:
    """Eight COCO photos, of which 13 and 14 are in valid; arguments of mvlm-prep tsv."""
    source = Source(folder)
    for number, name in COCO.items():
        path = source.add(name, "val" if number > 12 else "train", [f"a dog {number}", "a cat"])
        write_image(path, number, format="PNG")
    return source.write()


def coco_tar(folder: Path) -> list[str]:
    """The same photos under other names, their COCO numbers in the .json; arguments of mvlm-prep webdataset."""
    folder.mkdir()
    for split, numbers in {"train": range(7, 13), "val": range(13, 15)}.items():
        with tarfile.open(folder / f"{split}.tar", "w") as archive:
            for number in numbers:
                add_member(archive, f"x{number}.png", write_image(folder / "image.png", number))
                entry = {"caption": f"a dog {number}", "cocoid": number}
                add_member(archive, f"x{number}.json", json.dumps(entry).encode())
    return [
        "webdataset", "--tars", str(folder / "train.tar"), "--tars", f"valid={folder}/val.tar",
        "--vocab-size", "60", "--workers", "1",
    ]  # fmt: skip


def karpathy(path: Path, **splits: list[int]) -> str:
    images = [
        {"filename": f"COCO_val2014_{number:012d}.jpg", "cocoid": number, "split": split}
        for split, numbers in splits.items()
        for number in numbers
    ]
    path.write_text(json.dumps({"images": images}))
    return str(path)


@pytest.mark.parametrize("write", [coco_tsv, coco_tar])
def test_ids_of_a_karpathy_file(tmp_path: Path, prepare: RunPrepare, write: Callable[[Path], list[str]]) -> None:
    arguments = write(tmp_path / "raw")
    karpathy_file = karpathy(tmp_path / "dataset_coco.json", val=[7, 13], test=[9, 99], train=[8])
    databin = prepare(arguments, "--exclude", karpathy_file)
    assert counts_of(databin) == {"train": 4, "valid": 2}
    assert not any("7" in name or "9" in name for name in names(databin))
    assert manifest_of(databin)["excluded"] == {"dataset_coco.json": {"ids": 2}}
    captions = 4 if write is coco_tsv else 2
    assert manifest_of(databin)["rejected"] == {"total": captions, "by_reason": {"excluded": captions}}
    for entry in rejections(databin):
        assert entry["reason"] == "the image is named by dataset_coco.json"
        assert entry["source"]
        assert entry["caption"]
        assert entry["line" if write is coco_tsv else "member"]
    assert folder_bytes(prepare(arguments, "--exclude", karpathy_file, "--workers", "2", name="two")) == folder_bytes(
        databin
    )


def test_splits_and_lists_of_ids_and_several_at_once(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    karpathy_file = karpathy(tmp_path / "coco.json", val=[7], test=[9], train=[8])
    (tmp_path / "ids.txt").write_text("# of a benchmark\n11\nname:COCO_train2014_000000000012\n")
    arguments = coco_tsv(tmp_path / "raw")
    databin = prepare(arguments, "--exclude", f"{karpathy_file}:test", "--exclude", str(tmp_path / "ids.txt"))
    assert names(databin) == [COCO[7], COCO[8], COCO[10]]
    assert manifest_of(databin)["excluded"] == {"coco.json:test": {"ids": 1}, "ids.txt": {"ids": 2}}
    assert "excluded by ids.txt: 2 images by ids" in capsys.readouterr().out


@pytest.fixture
def evaluation(tmp_path: Path, prepare: RunPrepare) -> Path:
    """A data-bin of ten pictures; 0 to 5 are train, 6 and 7 valid, 8 and 9 test."""
    source = Source(tmp_path / "evaluation raw")
    for number in range(10):
        split = "train" if number < 6 else "val" if number < 8 else "test"
        source.add(f"{number}.png", split, [f"a picture {number}", "a dog"]).write_bytes(encoded(scenery(number)))
    return prepare(source.write(), name="evaluation")


@pytest.fixture
def suspect(tmp_path: Path) -> Source:
    """Pictures of which some are those of the evaluation, as they are or not quite."""
    source = Source(tmp_path / "raw")
    pictures = {
        "new.png": encoded(scenery(100)),
        "same as train.png": encoded(scenery(2)),
        "same as valid.png": encoded(scenery(6)),
        "jpeg of valid.jpg": encoded(scenery(7), "JPEG", quality=75),
        "smaller test.png": encoded(scenery(8).resize((72, 60), Image.Resampling.LANCZOS)),
        "marked test.png": encoded(marked(scenery(9))),
        "new again.png": encoded(scenery(101)),
    }
    for name, data in pictures.items():
        source.add(name, "train", [f"a dog in {name[:-4]}", "a cat"]).write_bytes(data)
    source.add("held out.png", "val", ["a held out dog"]).write_bytes(encoded(scenery(6)))
    return source


def test_content_and_looks_of_a_data_bin(suspect: Source, evaluation: Path, prepare: RunPrepare) -> None:
    arguments = [*suspect.write(), "--part-images", "3"]
    databin = prepare(arguments, "--exclude", str(evaluation))
    assert names(databin) == ["new.png", "same as train.png", "new again.png"]
    assert names(databin, "valid") == ["held out.png"]
    assert manifest_of(databin)["excluded"] == {"evaluation": {"exact": 1, "near": 3}}
    reasons = {Path(str(entry["image"])).name: entry["reason"] for entry in rejections(databin)}
    assert reasons == {
        "same as valid.png": "the image has the same bytes as one of evaluation",
        "jpeg of valid.jpg": "the image looks like one of evaluation",
        "smaller test.png": "the image looks like one of evaluation",
        "marked test.png": "the image looks like one of evaluation",
    }
    assert [entry["line"] for entry in rejections(databin)] == [5, 6, 7, 8, 9, 10, 11, 12]
    whole = prepare(arguments, name="whole")
    assert set(stored_images(databin, "train")) < set(stored_images(whole, "train"))
    assert counts_of(whole) == {"train": 7, "valid": 1}
    assert manifest_of(whole)["excluded"] == {}


def test_distance_and_splits_are_options(suspect: Source, evaluation: Path, prepare: RunPrepare) -> None:
    exact = prepare(suspect.write(), "--exclude", str(evaluation), "--exclude-distance", "-1", name="exact")
    assert manifest_of(exact)["excluded"] == {"evaluation": {"exact": 1}}
    train = prepare(suspect.write(), "--exclude", f"{evaluation}:train", name="train")
    assert manifest_of(train)["excluded"] == {"evaluation:train": {"exact": 1}}
    assert "same as train.png" not in names(train)
    assert "same as valid.png" in names(train)


def test_what_is_stored_smaller_is_compared_as_it_was(suspect: Source, evaluation: Path, prepare: RunPrepare) -> None:
    databin = prepare(suspect.write(), "--exclude", str(evaluation), "--max-side", "24", "--quality", "20")
    assert manifest_of(databin)["excluded"] == {"evaluation": {"exact": 1, "near": 3}}
    tiny = prepare(suspect.write(), "--max-side", "24", name="tiny")
    assert (tiny / "valid.hashes.npy").read_bytes() == (databin / "valid.hashes.npy").read_bytes()


def test_the_excluded_set_is_part_of_the_request(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = coco_tsv(tmp_path / "raw")
    ids = tmp_path / "ids.txt"
    ids.write_text("7\n")
    prepare(arguments, "--exclude", str(ids))
    prepare(arguments, "--exclude", str(ids))
    assert "already prepared" in capsys.readouterr().out
    ids.write_text("8\n")
    prepare(arguments, "--exclude", str(ids), status=2)
    assert "other options or other source files" in capsys.readouterr().err
    assert COCO[7] in names(prepare(arguments, "--exclude", str(ids), "--overwrite"))


@pytest.mark.parametrize("spec", ["nowhere.json", "raw"])
def test_what_cannot_be_excluded_is_told(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], spec: str
) -> None:
    arguments = coco_tsv(tmp_path / "raw")
    assert not prepare(arguments, "--exclude", str(tmp_path / spec), status=2).exists()
    assert spec in capsys.readouterr().err
    assert list(tmp_path.glob(".*")) == []


def coco_source(folder: Path) -> list[str]:
    images, annotations = [], []
    for number in range(1, 7):
        write_image(folder / "images" / f"{number:012d}.png", number)
        images.append({"id": number, "file_name": f"{number:012d}.png"})
        annotations.append({"id": number, "image_id": number, "caption": f"a dog {number}"})
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return ["coco", "--json", str(folder / "captions.json"), "--images", str(folder / "images")]


def visual_genome_source(folder: Path) -> list[str]:
    regions, data = [], []
    for number in range(1, 7):
        write_image(folder / "images" / "VG_100K" / f"{number}.png", number)
        regions.append({"id": number, "regions": [{"phrase": f"a dog {number}"}]})
        data.append({"image_id": number, "url": f"https://x.org/VG_100K/{number}.png", "coco_id": number + 100})
    (folder / "regions.json").write_text(json.dumps(regions))
    (folder / "data.json").write_text(json.dumps(data))
    files = ["--regions", str(folder / "regions.json"), "--image-data", str(folder / "data.json")]
    return ["visual-genome", *files, "--images", str(folder / "images")]


@pytest.mark.parametrize(
    ("write", "name", "number"), [(coco_source, "COCO", 3), (visual_genome_source, "Visual Genome", 103)]
)
def test_sets_that_are_evaluated_on_are_warned_of(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str],
    write: Callable[[Path], list[str]], name: str, number: int,
) -> None:  # fmt: skip
    arguments = [*write(tmp_path / "raw"), "--vocab-size", "40", "--workers", "1"]
    assert counts_of(prepare(arguments, name="all")) == {"train": 6}
    error = capsys.readouterr().err
    assert f"mvlm-prep: warning: {name} is prepared for training without --exclude" in error
    databin = prepare(arguments, "--exclude", karpathy(tmp_path / "coco.json", test=[number]))
    assert counts_of(databin) == {"train": 5}
    assert "without --exclude" not in capsys.readouterr().err
