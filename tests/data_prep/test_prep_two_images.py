"""Texts about two images: both are stored, and a text goes where one of them cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prep_helpers import counts_of, folder_bytes, manifest_of, rejections, write_image

from data_prep.cli import main
from mvlm_plugin.data.databin import pairs_path
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_tokenizer

RunPrepare = Callable[..., Path]
PAIRS = 6


def image(pair: int, side: int) -> str:
    return f"{pair}-0-img{side}.png"


def write_nlvr2(folder: Path) -> list[str]:
    """Six pairs of images; two statements about each, but one more about the first. Arguments of mvlm-prep nlvr2."""
    lines = []
    for pair in range(PAIRS):
        for side in (0, 1):
            write_image(folder / "images" / f"train-{image(pair, side)}", 2 * pair + side)
        for statement in range(2 + (pair == 0)):
            lines.append(
                {
                    "identifier": f"train-{pair}-0-{statement}",
                    "sentence": f"statement {statement} about the left and the right image of pair {pair}",
                    "label": "True" if statement else "False",
                }
            )
    folder.joinpath("train.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [
        "nlvr2", "--json", str(folder / "train.json"), "--images", str(folder / "images"),
        "--vocab-size", "60", "--workers", "1",
    ]  # fmt: skip


def stored(databin: Path) -> list[tuple[bytes, bytes, str, str]]:
    """Left image, right image, statement and label of every text of train."""
    store = PairStore(databin, "train")
    tokenizer = load_tokenizer(databin)
    rows = []
    for text in range(len(store)):
        left, right = map(store.images.read, store.images_of(text))
        rows.append((left, right, tokenizer.decode(store.captions.tokens(text)), store.fields(text)["label"]))
    return rows


def expected(folder: Path) -> list[tuple[bytes, bytes, str, str]]:
    rows = []
    for line in (folder / "train.json").read_text().splitlines():
        entry = json.loads(line)
        pair = int(entry["identifier"].split("-")[1])
        left, right = ((folder / "images" / f"train-{image(pair, side)}").read_bytes() for side in (0, 1))
        rows.append((left, right, entry["sentence"], entry["label"]))
    return rows


@pytest.mark.parametrize("part_images", ["1", "2", "3", "100"])
def test_texts_have_their_left_and_right_image(tmp_path: Path, prepare: RunPrepare, part_images: str) -> None:
    databin = prepare(write_nlvr2(tmp_path / "raw"), "--part-images", part_images)
    assert stored(databin) == expected(tmp_path / "raw")
    assert np.load(pairs_path(databin, "train")).shape == (2 * PAIRS + 1, 2)
    entry = manifest_of(databin)["splits"]["train"]
    assert entry["images_per_text"] == 2
    assert entry["images"] == 2 * PAIRS
    assert entry["fields"] == {
        "identifier": {"type": "string", "missing": 0}, "label": {"type": "string", "missing": 0},
    }  # fmt: skip
    assert rejections(databin) == []
    assert main(["verify", str(databin), "--workers", "1"]) == 0


@pytest.mark.parametrize("part_images", ["1", "100"])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("damage", ["broken", "missing"])
def test_a_bad_image_takes_its_texts_with_it(
    tmp_path: Path, prepare: RunPrepare, side: int, damage: str, part_images: str
) -> None:
    arguments = write_nlvr2(tmp_path / "raw")
    wanted = [row for row in expected(tmp_path / "raw") if "pair 2" not in row[2]]
    bad = tmp_path / "raw" / "images" / f"train-{image(2, side)}"
    if damage == "broken":
        bad.write_bytes(b"no image")
    else:
        bad.unlink()
    databin = prepare(arguments, "--part-images", part_images)
    assert stored(databin) == wanted
    entries = [entry for entry in rejections(databin) if "caption" in entry]
    assert [entry["line"] for entry in entries] == [6, 7]
    assert {entry["source"] for entry in entries} == {str(tmp_path / "raw" / "train.json")}
    told = [entry for entry in rejections(databin) if entry["image"] == bad.name]
    reason = "formats" if damage == "broken" else "no such file"
    assert any(reason in str(entry["reason"]) for entry in told), rejections(databin)
    assert manifest_of(databin)["rejected"]["total"] == len(rejections(databin))
    assert main(["verify", str(databin), "--workers", "1"]) == 0


def test_workers_and_merged_duplicates(tmp_path: Path, prepare: RunPrepare) -> None:
    arguments = write_nlvr2(tmp_path / "raw")
    again = (tmp_path / "raw" / "images" / f"train-{image(1, 1)}").read_bytes()
    (tmp_path / "raw" / "images" / f"train-{image(4, 0)}").write_bytes(again)
    one = prepare(arguments, "--duplicates", "merge", "--part-images", "3")
    two = prepare(arguments, "--duplicates", "merge", "--part-images", "3", "--workers", "2", name="two")
    assert folder_bytes(one) == folder_bytes(two)
    assert counts_of(one) == {"train": 2 * PAIRS - 1}
    assert stored(one) == expected(tmp_path / "raw")


def test_shards_cannot_divide_them(tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]) -> None:
    assert not prepare(write_nlvr2(tmp_path / "raw"), "--shards", "2", status=2).exists()
    assert "--shards cannot divide texts of several images" in capsys.readouterr().err
