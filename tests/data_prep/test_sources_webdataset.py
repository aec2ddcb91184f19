"""The webdataset reader: samples as webdataset and img2dataset store them, and archives that are damaged or hostile."""

import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from reading_helpers import read_all, tar_bytes
from webdataset_helpers import JPG, build, img2dataset_members, read, read_members

from data_prep.records import PrepError


def test_archives_of_img2dataset_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    path.write_bytes(tar_bytes(img2dataset_members(3)))
    samples, rejected = read(path)
    assert rejected == []
    assert [sample.name for sample in samples] == ["000000000.jpg", "000000001.jpg", "000000002.jpg"]
    assert [sample.texts for sample in samples] == [(f"a dog, number {number}\nof many",) for number in range(3)]
    for number, sample in enumerate(samples):
        assert sample.data == JPG + bytes([number])
        assert sample.offset is not None
        assert path.read_bytes()[sample.offset :].startswith(sample.data)
        assert (sample.split, sample.position, sample.fields, sample.ids) == ("train", sample.name, None, ())


def test_labels_splits_and_ids_come_from_the_json(tmp_path: Path) -> None:
    samples, _ = read_members(tmp_path, img2dataset_members(2), split_field="set", fields=("clip", "width", "none"))
    assert [sample.split for sample in samples] == ["train", "valid"]
    assert [sample.fields for sample in samples] == [({"clip": 0.25, "width": 256},), ({"clip": 1.25, "width": 256},)]
    for attributes, ids in (({"cocoid": 9}, ("coco:9",)), ({"coco_id": 8}, ("coco:8",)), ({"cocoid": "9"}, ())):
        members = [("1.jpg", JPG), ("1.txt", b"one\ntwo"), ("1.json", json.dumps(attributes).encode())]
        samples, _ = read_members(tmp_path, members, fields=("cocoid",))
        assert samples[0].ids == ids
        assert samples[0].fields == ({"cocoid": attributes["cocoid"]} if "cocoid" in attributes else {},) * 2


@pytest.mark.parametrize(
    ("texts", "caption_from", "expected"),
    [
        ({"txt": b"\xef\xbb\xbfone\r\n\ntwo \n"}, None, ("one", "two")),
        ({"TXT": b"one"}, None, ("one",)),
        ({"txt": b" ", "json": b'{"caption": "c"}'}, None, ("c",)),
        ({"json": b'{"captions": ["c", "d"]}', "text": b"t"}, None, ("c", "d")),
        ({"text": b"t", "caption": b"c"}, None, ("c",)),
        ({"text": b"t"}, None, ("t",)),
        ({"txt": b"t", "json": b'[{"box": 1}]'}, None, ("t",)),
        ({"txt": b"t", "json": b'{"alt": ["a", "b"], "caption": "c"}'}, "json:alt", ("a", "b")),
        ({"txt": b"t", "en.txt": b"e"}, "en.txt", ("e",)),
    ],
)
def test_where_captions_are(
    tmp_path: Path, texts: dict[str, bytes], caption_from: str | None, expected: tuple[str, ...]
) -> None:
    members = [("d/1.JPG", JPG), *((f"d/1.{extension}", content) for extension, content in texts.items())]
    samples, rejected = read_members(tmp_path, members, caption_from=caption_from)
    assert [sample.texts for sample in samples] == [expected]
    assert rejected == []


@pytest.mark.parametrize(
    ("members", "options", "reason"),
    [
        ([("1.txt", b"t")], {}, "no image"),
        ([("1.jpg", JPG)], {}, "no caption"),
        ([("1.jpg", JPG), ("1.txt", b" \n ")], {}, "no caption"),
        ([("1.jpg", JPG), ("1.txt", b"t")], {"caption_from": "json:caption"}, "no caption in json:caption"),
        ([("1.jpg", JPG), ("1.png", JPG), ("1.txt", b"t")], {}, "two images, 1.jpg and 1.png"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.txt", b"u")], {}, "two members .txt"),
        ([("1.jpg", JPG), ("1.txt", b"\xff")], {}, "not UTF-8"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b"{")], {}, "not JSON"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b"[" * 1_000_000)], {}, "nested too deeply"),
        ([("1.jpg", JPG), ("1.json", b'{"a":' * 100_000)], {}, "nested too deeply"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b"9" * 10_000)], {}, "not JSON"),
        ([("1.jpg", JPG), ("1.json", b'{"captions": ["a", 2]}')], {}, "entry that is no text"),
        ([("1.jpg", JPG), ("1.txt", b"t" * (2**24 + 1))], {}, "16 MiB"),
        ([("1.jpg", JPG), ("1.txt", b"t")], {"split_field": "s"}, "missing or no text"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b'{"s": "../x"}')], {"split_field": "s"}, "split name '../x'"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b'{"a": {"b": 1}}')], {"fields": ("a",)}, "neither a number"),
        ([("1.jpg", JPG), ("1.txt", b"t"), ("1.json", b'{"a": [[[]]]}')], {"fields": ("a",)}, "neither a number"),
        ([("README", b"x")], {}, "not KEY.EXTENSION"),
        ([(".hidden.jpg", b"x")], {}, "not KEY.EXTENSION"),
    ],
)
def test_what_cannot_be_used_is_listed_and_the_next_sample_is_read(
    tmp_path: Path, members: list[tuple[str, bytes]], options: dict[str, Any], reason: str
) -> None:
    good = json.dumps({"s": "x", "caption": "good"}).encode()
    samples, rejected = read_members(tmp_path, [*members, ("2.jpg", JPG), ("2.json", good)], **options)
    assert [sample.texts for sample in samples] == [("good",)]
    assert len(rejected) == 1
    assert reason in rejected[0]["reason"]
    assert rejected[0]["position"] == members[0][0]
    assert rejected[0]["source"] == str(tmp_path / "a.tar")


def test_samples_of_one_key_that_are_apart_are_not_joined(tmp_path: Path) -> None:
    members = [("1.jpg", JPG), ("2.jpg", JPG), ("1.txt", b"t"), ("2.txt", b"t")]
    samples, rejected = read_members(tmp_path, members)
    assert samples == []
    assert [entry["position"] for entry in rejected] == ["1.jpg", "2.jpg", "1.txt", "2.txt"]


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.LNKTYPE), ("3.jpg", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    samples, rejected = read(path)
    assert samples == []
    assert [entry["reason"] for entry in rejected] == [
        "the member is a hard link" if name == 2 else f"the member is a {kind}"
        for name, kind in ((1, "symbolic link"), (2, ""), (3, "pipe"))
    ]


def test_an_archive_that_cannot_be_opened_is_one_rejection(tmp_path: Path) -> None:
    assert [entry["source"] for entry in read(tmp_path / "gone.tar")[1]] == [str(tmp_path / "gone.tar")]
    (tmp_path / "page.tar").write_bytes(b"<html>" * 1000)
    assert len(read(tmp_path / "page.tar")[1]) == 1


def test_archives_of_an_object_store_are_read(tmp_path: Path) -> None:
    with fsspec.open("memory://wds/00000.tar", "wb") as file:
        file.write(tar_bytes(img2dataset_members(3)))
    samples, rejected = read("memory://wds/00000.tar", scratch=tmp_path)
    assert (len(samples), rejected) == (3, [])


def test_options_make_a_source_that_workers_can_be_sent(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number:03d}.tar").write_bytes(tar_bytes(img2dataset_members(2)))
    (tmp_path / "x.tar.gz").write_bytes(tar_bytes(img2dataset_members(2), mode="w:gz"))
    source = build(
        "--tars", f"{tmp_path}/{{000..001}}.tar", "--tars", f"val={tmp_path}/002.t*", "--fields", "clip,width"
    )
    assert source.archives == [
        ("train", f"{tmp_path}/000.tar"), ("train", f"{tmp_path}/001.tar"), ("valid", f"{tmp_path}/002.tar"),
    ]  # fmt: skip
    assert source.can_reference
    assert source.options == {"caption_from": None, "split_field": None, "fields": ["clip", "width"]}
    reader = pickle.loads(pickle.dumps(source.read))
    samples, _ = read_all(lambda log: reader(source.archives[2][1], "valid", log), tmp_path)
    assert [sample.split for sample in samples] == ["valid", "valid"]
    assert samples[1].fields == ({"clip": 1.25, "width": 256},)
    assert not build("--tars", f"{tmp_path}/x.tar.gz").can_reference
    with pytest.raises(PrepError, match="no archive"):
        build("--tars", f"{tmp_path}/{{000..003}}.tar")
    with pytest.raises(PrepError, match="named twice"):
        build("--tars", f"{tmp_path}/*.tar", "--tars", f"valid={tmp_path}/002.tar")


@pytest.mark.parametrize("value", ["jpg", "json", "json:", "a/b", ""])
def test_impossible_caption_sources_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SystemExit):
        build("--tars", f"{tmp_path}/*.tar", "--caption-from", value)
