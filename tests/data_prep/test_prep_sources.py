"""What goes in comes out: bytes, captions and pairs of both readers, against sources read here independently."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import (
    SHARED_DATA,
    Source,
    folder_bytes,
    rejections,
    stored_images,
    stored_pairs,
    stored_tokens,
    write_image,
)

from data_prep.cli import main

FLICKR = SHARED_DATA / "flickr8k"


def expected_pairs(source: Source, split: str) -> list[tuple[bytes, str]]:
    rows = [row for row in source.captions if source.splits[row[0]] == split]
    return [((source.folder / image).read_bytes(), caption) for image, caption in rows]


def test_bytes_captions_and_pairs_equal_the_source(source: Source, prepare: Callable[..., Path]) -> None:
    databin = prepare(source.write())
    assert stored_pairs(databin, "train") == expected_pairs(source, "train")
    assert stored_pairs(databin, "valid") == expected_pairs(source, "val")
    assert rejections(databin) == []


def test_each_part_has_a_container_of_its_own(source: Source, prepare: Callable[..., Path]) -> None:
    databin = prepare(source.write(), "--part-images", "3")
    names = sorted(path.name for path in databin.glob("train.images*.bin"))
    assert names == ["train.images.001.bin", "train.images.002.bin", "train.images.bin"]
    data = [(source.images / f"{number}.png").read_bytes() for number in range(8)]
    assert (databin / "train.images.bin").read_bytes() == b"".join(data[:3])
    assert (databin / "train.images.002.bin").read_bytes() == b"".join(data[6:])
    assert stored_pairs(databin, "train") == expected_pairs(source, "train")
    assert stored_pairs(databin, "valid") == expected_pairs(source, "val")


def test_workers_do_not_change_a_byte(source: Source, prepare: Callable[..., Path]) -> None:
    for number in range(10, 90):
        path = source.add(f"{number}.png", "train", [f"dog {number}"])
        write_image(path, number)
        if number % 9 == 0:
            path.write_bytes(b"broken")
    arguments = [*source.write(), "--part-images", "7"]
    one = prepare(arguments, "--workers", "1", name="one")
    assert len(rejections(one)) == 8
    for workers in ("2", "3"):
        other = prepare(arguments, "--workers", workers, name=f"with {workers}")
        assert folder_bytes(other) == folder_bytes(one)


def test_an_image_with_five_captions_is_stored_once(source: Source, prepare: Callable[..., Path]) -> None:
    data = write_image(source.add("five.png", "train", [f"caption {word}" for word in "abcde"]), 77)
    databin = prepare(source.write())
    assert stored_images(databin, "train").count(data) == 1
    texts = [text for image, text in stored_pairs(databin, "train") if image == data]
    assert texts == [f"caption {letter}" for letter in "abcde"]


def test_captions_of_an_image_far_apart_in_the_file_are_grouped(source: Source, prepare: Callable[..., Path]) -> None:
    source.captions.append(("images/0.png", "one more ball"))
    pairs = stored_pairs(prepare(source.write()), "train")
    assert [text for _, text in pairs[:3]] == [
        "the dog number a runs to a red ball", "a brown dog and ball number a", "one more ball",
    ]  # fmt: skip
    assert len(stored_images(Path(prepare(source.write())), "train")) == 8


@pytest.mark.parametrize("images", ["raw", "raw/images"])
def test_images_may_be_the_folder_or_its_parent(
    source: Source, tmp_path: Path, prepare: Callable[..., Path], images: str
) -> None:
    databin = prepare(source.write(), "--images", str(tmp_path / images))
    assert len(stored_images(databin, "train")) == 8


def test_bad_lines_are_reported_with_their_numbers(source: Source, prepare: Callable[..., Path]) -> None:
    arguments = source.write()
    with open(source.folder / "captions.tsv", "ab") as file:
        file.write(b"\n   \nno tab here\nimages/0.png\ttwo\ttabs\nimages/0.png\t \x00\t\n\tno image\n")
        file.write(b"images/0.png\t \x07 \nimages/0.png\tnot \xff utf-8\nimages/unknown.png\tno split\r\n")
        file.write("images/0.png\tcafe\u0301 \u00a0 \x1b au   lait\r\n".encode())
    databin = prepare(arguments)
    by_line = {entry["line"]: entry["reason"] for entry in rejections(databin)}
    assert set(by_line) == {23, 24, 25, 26, 27, 28, 29}
    assert "found 1" in by_line[23]
    assert "found 3" in by_line[24]
    assert "empty" in by_line[26]
    assert "visible" in by_line[27]
    assert "UTF-8" in by_line[28]
    assert "split" in by_line[29]
    assert any(text == "caf\u00e9 au lait" for _, text in stored_pairs(databin, "train"))
    manifest = json.loads((databin / "manifest.json").read_text())
    assert manifest["rejected"]["total"] == 7 == sum(manifest["rejected"]["by_reason"].values())


def test_split_names_that_are_no_file_names_are_rejected(source: Source, prepare: Callable[..., Path]) -> None:
    for name, split in (("x.png", "../train"), ("y.png", "a b"), ("z.png", "extra-1")):
        write_image(source.add(name, split, ["a dog"]), 5)
    databin = prepare(source.write())
    assert sorted(json.loads((databin / "manifest.json").read_text())["splits"]) == ["extra-1", "train", "valid"]
    categories = json.loads((databin / "manifest.json").read_text())["rejected"]["by_reason"]
    assert categories == {"bad split name": 2, "no split": 2}


def test_an_image_belongs_to_one_split(source: Source, prepare: Callable[..., Path]) -> None:
    arguments = source.write()
    with open(source.folder / "splits.tsv", "a") as file:
        file.write("images/0.png\tval\nimages/1.png\ttrain\n")
    (entry,) = rejections(prepare(arguments))
    assert entry["line"] == 11
    assert "already in split 'train'" in str(entry["reason"])


def test_subset_names_the_only_split(source: Source, tmp_path: Path, prepare: Callable[..., Path]) -> None:
    train = prepare(source.write(), name="train")
    captions, images = str(source.folder / "captions.tsv"), str(source.folder)
    databin = prepare(
        ["tsv", "--captions", captions, "--images", images, "--subset", "val", "--tokenizer-from", str(train)]
    )
    assert list(json.loads((databin / "manifest.json").read_text())["splits"]) == ["valid"]
    with pytest.raises(SystemExit) as exit_info:
        main([*source.write(), "--subset", "x", "--dest", str(tmp_path / "no")])
    assert exit_info.value.code == 2


def karpathy_arguments(folder: Path, entries: list) -> list[str]:
    (folder / "set.json").write_text(json.dumps({"images": entries}))
    arguments = ["karpathy", "--json", str(folder / "set.json"), "--images", str(folder / "images")]
    return [*arguments, "--vocab-size", "60", "--workers", "1"]


def test_karpathy_splits_file_paths_and_bad_entries(source: Source, prepare: Callable[..., Path]) -> None:
    data = write_image(source.images / "val2014" / "c.png", 70)
    good = [{"raw": "a dog runs"}, {"raw": "a brown dog"}]
    entries = [
        {"filename": "0.png", "split": "train", "sentences": good},
        {"filename": "c.png", "filepath": "val2014", "split": "restval", "sentences": good},
        {"filename": "2.png", "split": "val", "sentences": [{"raw": "kept"}, {"raw": 5}, "text", {"raw": ""}]},
        {"filename": "3.png", "split": "extra", "sentences": good},
        17,
        {"filename": ["4.png"], "split": "train", "sentences": good},
        {"filename": "5.png", "split": "train", "sentences": []},
        {"filename": "6.png", "split": "tr/ain", "sentences": good},
        {"filename": "7.png", "filepath": 3, "split": "train", "sentences": good},
        {"filename": "\ud800\x00.png", "split": "train", "sentences": [{"raw": "odd \ud800 text"}]},
        {"filename": "0.png", "split": "val", "sentences": [{"raw": "conflict"}]},
    ]
    databin = prepare(karpathy_arguments(source.folder, entries))
    manifest = json.loads((databin / "manifest.json").read_text())
    captions = {split: entry["captions"] for split, entry in manifest["splits"].items()}
    assert captions == {"extra": 2, "train": 4, "valid": 1}
    assert stored_pairs(databin, "train")[2:] == [(data, "a dog runs"), (data, "a brown dog")]
    assert [entry["record"] for entry in rejections(databin)] == [2, 2, 2, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("content", ["not json", "[" * 100_000, "[]", '{"images": 3}', "\xff"])
def test_a_karpathy_file_that_is_none_is_an_error(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str], content: str
) -> None:
    arguments = karpathy_arguments(source.folder, [])
    (source.folder / "set.json").write_text(content, encoding="latin-1")
    databin = prepare(arguments, status=2)
    assert not databin.exists()
    assert "give a Karpathy file" in capsys.readouterr().err


@pytest.mark.skipif(not FLICKR.is_dir(), reason="flickr8k is not in MVLM_SHARED_DATA")
def test_flickr8k_is_the_same_through_both_readers(tmp_path: Path, prepare: Callable[..., Path]) -> None:
    karpathy = json.loads((FLICKR / "dataset_flickr8k.json").read_text())["images"]
    chosen = karpathy[:50]
    (tmp_path / "set.json").write_text(json.dumps({"images": chosen}))
    names = {f"images/{entry['filename']}" for entry in chosen}
    for table in ("captions.tsv", "splits.tsv"):
        lines = (FLICKR / table).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.split("\t")[0] in names)
        (tmp_path / table).write_text(kept, encoding="utf-8")
    common = ["--vocab-size", "500", "--workers", "2"]
    images = ["--images", str(FLICKR / "images")]
    tables = ["--captions", str(tmp_path / "captions.tsv"), "--splits", str(tmp_path / "splits.tsv")]
    tsv = prepare(["tsv", *tables, "--images", str(FLICKR), *common], name="tsv")
    json_bin = prepare(["karpathy", "--json", str(tmp_path / "set.json"), *images, *common], name="json")
    for split in ("train", "valid"):
        assert stored_images(tsv, split) == stored_images(json_bin, split)
        assert stored_tokens(tsv, split) == stored_tokens(json_bin, split)
        expected = [
            ((FLICKR / "images" / entry["filename"]).read_bytes(), " ".join(sentence["raw"].split()).lower())
            for entry in chosen if entry["split"][:3] == split[:3] for sentence in entry["sentences"]
        ]  # fmt: skip
        assert stored_pairs(tsv, split) == expected
    assert main(["verify", str(tsv)]) == 0
