"""The readers of the Karpathy files and of COCO's own: on small files of the official form."""

import json
from pathlib import Path
from typing import Any

import pytest
from prep_helpers import SHARED_DATA
from source_helpers import build, check_example, peak_memory, rows

from data_prep.records import PrepError
from data_prep.sources import coco, karpathy

FLICKR = SHARED_DATA / "flickr8k"


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco_image(number: int, photo: int, folder: str = "train2017") -> dict[str, Any]:
    """An entry of "images" as the 2017 release has it."""
    name = f"{number:012d}.jpg"
    return {
        "license": 3, "file_name": name, "coco_url": f"http://images.cocodataset.org/{folder}/{name}",
        "height": 360, "width": 640, "date_captured": "2013-11-14 11:18:45",
        "flickr_url": f"http://farm9.staticflickr.com/8186/{photo}_2a33b4bd5f_z.jpg", "id": number,
    }  # fmt: skip


def caption_file(images: list[Any], captions: list[tuple[Any, Any]]) -> dict[str, Any]:
    """An official caption file: captions are (image id, text)."""
    annotations = [{"image_id": image, "id": 48 + n, "caption": text} for n, (image, text) in enumerate(captions)]
    return {
        "info": {"description": "COCO 2017 Dataset", "year": 2017}, "images": images,
        "licenses": [{"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "BY-NC-SA"}],
        "annotations": annotations,
    }  # fmt: skip


def test_coco_gives_captions_in_the_order_of_images(tmp_path: Path) -> None:
    (tmp_path / "coco" / "train2017").mkdir(parents=True)
    images = [coco_image(391895, 111), coco_image(9, 222), coco_image(25, 333)]
    train = write(
        tmp_path / "captions_train2017.json",
        caption_file(images, [(9, "a"), (25, "b"), (391895, "c"), (9, "d"), (391895, "e")]),
    )
    val = write(tmp_path / "captions_val2017.json", caption_file([coco_image(42, 444, "val2017")], [(42, "f")]))
    found, rejected = rows(
        coco.COMMAND, tmp_path, "--json", train, "--json", f"val={val}", "--images", tmp_path / "coco"
    )
    assert [(row.images[0], row.split, row.text, row.ids) for row in found] == [
        ("train2017/000000391895.jpg", "train", "c", ("coco:391895", "flickr:111")),
        ("train2017/000000391895.jpg", "train", "e", ("coco:391895", "flickr:111")),
        ("train2017/000000000009.jpg", "train", "a", ("coco:9", "flickr:222")),
        ("train2017/000000000009.jpg", "train", "d", ("coco:9", "flickr:222")),
        ("train2017/000000000025.jpg", "train", "b", ("coco:25", "flickr:333")),
        # There is no folder coco/val2017: the photo is looked for in coco itself.
        ("000000000042.jpg", "valid", "f", ("coco:42", "flickr:444")),
    ]
    assert found[0].position == "annotations[2]"
    assert found[-1].source == str(val)
    assert rejected == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_coco_2014_is_the_same_through_both_files(tmp_path: Path) -> None:
    name = "COCO_val2014_000000391895.jpg"
    (tmp_path / "val2014").mkdir()
    image = {
        "file_name": name,
        "id": 391895,
        "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
    }
    official = write(
        tmp_path / "captions_val2014.json", caption_file([image], [(391895, "A man."), (391895, "A dirt path.")])
    )
    sentences = [{"tokens": ["a", "man"], "raw": "A man.", "imgid": 0, "sentid": 770337}, {"raw": "A dirt path."}]
    entry = {"filepath": "val2014", "sentids": [770337], "filename": name, "imgid": 0, "split": "test", "sentences": sentences, "cocoid": 391895}  # fmt: skip  # noqa: E501
    split = write(tmp_path / "dataset_coco.json", {"images": [entry], "dataset": "coco"})
    one, _ = rows(coco.COMMAND, tmp_path, "--json", f"test={official}", "--images", tmp_path)
    two, _ = rows(karpathy.COMMAND, tmp_path, "--json", split, "--images", tmp_path)
    assert [(row.images, row.split, row.text) for row in one] == [(row.images, row.split, row.text) for row in two]
    assert one[0].images == ("val2014/COCO_val2014_000000391895.jpg",)
    assert one[0].ids == ("coco:391895", "flickr:8119368305")
    assert two[0].ids == ("coco:391895",)


def test_coco_lists_what_it_cannot_use(tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}, {"file_name": "c.jpg"},
              7, {"id": 2, "file_name": " "}, {"id": 3, "file_name": "lonely.jpg"},
              {"id": "x", "file_name": "n.jpg"}]  # fmt: skip
    content = caption_file(images, [(1, "good"), (99, "no such image"), (1, None), ("x", "named"), (2, "no name")])
    content["annotations"] += ["text", {"caption": "no id"}]
    path = write(tmp_path / "x.json", content)
    found, rejected = rows(coco.COMMAND, tmp_path, "--json", path, "--images", tmp_path)
    assert [(row.images[0], row.text, row.ids) for row in found] == [("a.jpg", "good", ()), ("n.jpg", "named", ())]
    assert [entry["position"] for entry in rejected] == [
        "images[1]", "images[2]", "images[3]", "images[4]", "annotations[1]", "annotations[2]", "annotations[4]",
        "annotations[5]", "annotations[6]", "images[5]",
    ]  # fmt: skip
    assert rejected[-1]["reason"] == "no annotation belongs to the image"


def test_only_photos_of_coco_have_its_numbers(tmp_path: Path) -> None:
    images = [
        {"id": 1, "file_name": "a.jpg", "coco_url": "http://mscoco.org/images/391895"},
        {"id": 2, "file_name": "b.jpg", "coco_url": "https://s3.amazonaws.com/nocaps/val/0013ea2087020901.jpg"},
        {"id": 3, "file_name": "c.jpg", "coco_url": "http://[cocodataset.org", "flickr_url": "http://x.org/1_2.jpg"},
    ]
    path = write(tmp_path / "x.json", caption_file(images, [(1, "a"), (2, "b"), (3, "c")]))
    found, _ = rows(coco.COMMAND, tmp_path, "--json", path, "--images", tmp_path)
    assert [row.ids for row in found] == [("coco:1",), (), ()]


def test_coco_files_of_another_kind_are_errors(tmp_path: Path) -> None:
    info = write(tmp_path / "image_info_test2017.json", {"images": [coco_image(1, 1)], "categories": []})
    with pytest.raises(PrepError, match=r'no list "annotations".*captions_train2017\.json'):
        rows(coco.COMMAND, tmp_path, "--json", info, "--images", tmp_path)
    with pytest.raises(SystemExit):
        build(coco.COMMAND, "--json", "valid=", "--images", tmp_path)


def test_coco_memory_does_not_grow(tmp_path: Path) -> None:
    images = [coco_image(number, number) for number in range(20_000)]
    captions = [(number % 20_000, f"caption {number} " * 4) for number in range(40_000)]
    path = write(tmp_path / "captions_train2017.json", caption_file(images, captions))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = build(coco.COMMAND, "--json", path, "--images", tmp_path)
    count = 0

    def read() -> None:
        nonlocal count
        count = sum(1 for _ in source.read(None, scratch))  # type: ignore[call-arg, arg-type]

    assert peak_memory(read) < 2**20
    assert count == 40_000


def test_karpathy_rows_and_rejections(tmp_path: Path) -> None:
    good = [{"raw": "a dog runs"}, {"raw": "a brown dog"}]
    entries = [
        {"filename": "1000268201_693b08cb0e.jpg", "split": "train", "sentences": good},
        {"filename": "36979.jpg", "split": "val", "sentences": [{"raw": "kept"}, {"raw": 5}, "text", {"raw": ""}]},
        {"filename": "c.png", "filepath": "val2014", "split": "restval", "sentences": good[:1], "cocoid": 17},
        17,
        {"filename": ["4.png"], "split": "train", "sentences": good},
        {"filename": "5.png", "split": "train", "sentences": []},
        {"filename": "6.png", "split": "tr/ain", "sentences": good},
        {"filename": "7.png", "filepath": 3, "split": "train", "sentences": good},
    ]
    path = write(tmp_path / "set.json", {"images": entries, "dataset": "flickr8k"})
    found, rejected = rows(karpathy.COMMAND, tmp_path, "--json", path, "--images", tmp_path)
    assert [(row.images[0], row.split, row.text, row.position, row.ids) for row in found] == [
        ("1000268201_693b08cb0e.jpg", "train", "a dog runs", 0, ("flickr:1000268201",)),
        ("1000268201_693b08cb0e.jpg", "train", "a brown dog", 0, ("flickr:1000268201",)),
        ("36979.jpg", "valid", "kept", 1, ("flickr:36979",)),
        ("36979.jpg", "valid", "", 1, ("flickr:36979",)),
        ("val2014/c.png", "train", "a dog runs", 2, ("coco:17",)),
    ]
    assert [entry["position"] for entry in rejected] == [1, 1, 3, 4, 5, 6, 7]
    assert [entry["image"] for entry in rejected[3:]] == [None, "5.png", "6.png", "7.png"]


@pytest.mark.parametrize("content", ["not json", '{"images":' + "[" * 100_000, "[]", '{"images": 3}', "\xff"])
def test_a_karpathy_file_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(PrepError, match="give a Karpathy file"):
        rows(karpathy.COMMAND, tmp_path, "--json", path, "--images", tmp_path)


@pytest.mark.skipif(not FLICKR.is_dir(), reason="flickr8k is not in MVLM_SHARED_DATA")
def test_flickr8k_is_read_completely(tmp_path: Path) -> None:
    path = FLICKR / "dataset_flickr8k.json"
    found, rejected = rows(karpathy.COMMAND, tmp_path, "--json", path, "--images", FLICKR / "images")
    expected = [
        (entry["filename"], sentence["raw"], (f"flickr:{entry['filename'].partition('_')[0]}",))
        for entry in json.loads(path.read_text())["images"] for sentence in entry["sentences"]
    ]  # fmt: skip
    assert [(row.images[0], row.text, row.ids) for row in found] == expected
    assert rejected == []


def test_examples_can_be_pasted() -> None:
    check_example(coco.COMMAND)
    check_example(karpathy.COMMAND)
