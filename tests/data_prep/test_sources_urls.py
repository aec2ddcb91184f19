"""The readers of sets that give addresses instead of images: SBU Captions and Conceptual Captions."""

import hashlib
import json
from pathlib import Path

import pytest
from source_helpers import build, check_example, rows

from data_prep.records import PrepError
from data_prep.sources import cc, sbu

PHOTO = "http://static.flickr.com/2723/4385058960_b0f291553e.jpg"
OTHER = "http://static.flickr.com/3348/3183472382_156bcbc461.jpg"


def test_cc3m_and_cc12m_are_told_apart_line_by_line(tmp_path: Path) -> None:
    three, twelve = tmp_path / "Train_GCC-training.tsv", tmp_path / "cc12m.tsv"
    three.write_text("a very typical bus station\thttp://lh6.ggpht.com/-IvRtNLNcG8o/s640/IMGP0014.jpg?x=1\n")
    twelve.write_text(
        f"{PHOTO}\t<PERSON> was the first US president .\nno address\tat all\nhttp://a/b\thttp://a/c\n\n1\t2\t3\n"
    )
    found, rejected = rows(cc.COMMAND, tmp_path, "--tsv", three, "--images", "i")
    assert [(row.images, row.text, row.ids) for row in found] == [(("00000000.jpg",), "a very typical bus station", ())]
    found, rejected = rows(
        cc.COMMAND, tmp_path, "--tsv", twelve, "--tsv", f"val={three}", "--images", "i", "--name-by", "url-basename"
    )
    assert [(row.images, row.split, row.ids) for row in found] == [
        (("4385058960_b0f291553e.jpg",), "train", ("flickr:4385058960",)), (("IMGP0014.jpg",), "valid", ()),
    ]  # fmt: skip
    assert found[0].text == "<PERSON> was the first US president ."
    assert [(entry["position"], entry["reason"][:13]) for entry in rejected] == [
        (2, "neither field"), (3, "both fields a"), (5, "expected 2 ta"),
    ]  # fmt: skip


def test_row_numbers_count_every_line_and_have_a_folder_for_each_file(tmp_path: Path) -> None:
    for part in (0, 1):
        (tmp_path / f"part-{part}.tsv").write_text(f"broken\n\na\thttp://x/{part}.png\n")
    options = ["--images", "i", "--extension", ".webp", "--digits", "3"]
    found, _ = rows(cc.COMMAND, tmp_path, "--tsv", tmp_path / "part-{0..1}.tsv", *options)
    assert [row.images[0] for row in found] == ["part-0/002.webp", "part-1/002.webp"]
    found, _ = rows(cc.COMMAND, tmp_path, "--tsv", tmp_path / "part-1.tsv", *options)
    assert [row.images[0] for row in found] == ["002.webp"]
    with pytest.raises(PrepError, match="same name"):
        build(cc.COMMAND, "--tsv", tmp_path / "part-0.tsv", "--tsv", tmp_path / "x" / "part-0.tsv", *options)


def test_names_by_address(tmp_path: Path) -> None:
    path = tmp_path / "cc.tsv"
    url = "https://x.org/a%20b/?q=1#f"
    path.write_text(f"a\t{PHOTO}\nb\t{url}\nc\thttp://[x/y.jpg\n")
    for way, digest in (("url-md5", hashlib.md5), ("url-sha1", hashlib.sha1)):
        found, _ = rows(cc.COMMAND, tmp_path, "--tsv", path, "--images", "i", "--name-by", way, "--extension", "")
        assert [row.images[0] for row in found[:2]] == [digest(text.encode()).hexdigest() for text in (PHOTO, url)]
    found, rejected = rows(cc.COMMAND, tmp_path, "--tsv", path, "--images", "i", "--name-by", "url-basename")
    assert [row.images[0] for row in found] == ["4385058960_b0f291553e.jpg"]
    assert [entry["position"] for entry in rejected] == [2, 3]
    for wrong in (["--extension", "jpg"], ["--extension", "./x"], ["--digits", "21"], ["--digits", "0"]):
        with pytest.raises(SystemExit):
            build(cc.COMMAND, "--tsv", path, "--images", "i", *wrong)


def test_sbu_json_of_the_release(tmp_path: Path) -> None:
    path = tmp_path / "sbu-captions-all.json"
    content = {
        "captions": ["one", 3, "three", "four"],
        "image_urls": [PHOTO, OTHER, OTHER, "no address"],
        "user_ids": [],
    }
    path.write_text(json.dumps(content))
    found, rejected = rows(sbu.COMMAND, tmp_path, "--json", path, "--images", "i")
    assert [(row.images[0], row.text, row.position, row.ids) for row in found] == [
        ("4385058960_b0f291553e.jpg", "one", 0, ("flickr:4385058960",)),
        ("3183472382_156bcbc461.jpg", "three", 2, ("flickr:3183472382",)),
    ]
    assert [entry["position"] for entry in rejected] == [1, 3]
    content["captions"] = content["captions"][:3]
    path.write_text(json.dumps(content))
    with pytest.raises(PrepError, match="differ in length"):
        rows(sbu.COMMAND, tmp_path, "--json", path, "--images", "i")


def test_sbu_list_of_paths(tmp_path: Path) -> None:
    path = tmp_path / "sbu.json"
    entries = [{"image": "sbu/1.jpg", "caption": "one"}, {"image": "2.jpg", "caption": ["two", 2]}, {"caption": "x"}, 5]
    path.write_text(json.dumps(entries))
    found, rejected = rows(sbu.COMMAND, tmp_path, "--json", path, "--images", "i", "--subset", "val")
    assert [(row.images[0], row.text, row.split) for row in found] == [
        ("sbu/1.jpg", "one", "valid"),
        ("2.jpg", "two", "valid"),
    ]
    assert [entry["position"] for entry in rejected] == [1, 2, 3]


def test_sbu_text_files_go_line_by_line(tmp_path: Path) -> None:
    urls, captions = tmp_path / "urls.txt", tmp_path / "captions.txt"
    urls.write_text(f"{PHOTO}\n{OTHER}\n{OTHER}\n\nnot an address\n")
    captions.write_bytes(b"one\n\xff\nthree\n\nfive\n\n")
    arguments = ["--urls", urls, "--captions", captions, "--images", "i"]
    found, rejected = rows(sbu.COMMAND, tmp_path, *arguments)
    assert [(row.images[0], row.text, row.position) for row in found] == [
        ("4385058960_b0f291553e.jpg", "one", 1), ("3183472382_156bcbc461.jpg", "three", 3),
    ]  # fmt: skip
    assert [entry["position"] for entry in rejected] == [2, 5]
    assert build(sbu.COMMAND, *arguments).position_name == "line"
    captions.write_text("one\ntwo\n")
    with pytest.raises(PrepError, match="number of lines \\(the first is longer\\)"):
        rows(sbu.COMMAND, tmp_path, *arguments)


def test_sbu_takes_one_form(tmp_path: Path) -> None:
    for wrong in (
        [],
        ["--json", "a", "--urls", "b", "--captions", "c"],
        ["--urls", "b"],
        ["--json", "a", "--captions", "c"],
    ):
        with pytest.raises(PrepError, match="either --json, or both"):
            build(sbu.COMMAND, "--images", "i", *wrong)
    check_example(sbu.COMMAND)
    check_example(cc.COMMAND)
