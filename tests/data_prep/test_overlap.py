"""mvlm-prep overlap."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databin_helpers import Picture, encoded, marked, scenery, write_bin, write_sharded
from PIL import Image

from data_prep.inspection.contact_sheet import THUMBNAIL, Pair, contact_sheet
from data_prep.inspection.overlap import TOOL
from data_prep.records import PrepError


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    TOOL.add_options(parser)
    return TOOL.run(parser.parse_args([str(argument) for argument in arguments]))


def pictures(*seeds: int, near: tuple[int, ...] = ()) -> list[Picture]:
    """Pictures of seeds, and near-duplicates of others."""
    same = [Picture(f"{seed}.png", encoded(scenery(seed))) for seed in seeds]
    return same + [Picture(f"near{seed}.png", encoded(marked(scenery(seed)))) for seed in near]


def report(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    path = tmp_path / "report.json"
    assert run(*arguments, "--json", path) == 0
    return json.loads(path.read_text())


@pytest.fixture
def bins(tmp_path: Path) -> tuple[Path, Path]:
    """A and B have pictures 1 and 2 in common; 3 and 4 nearly; picture 1 is twice in B."""
    a = write_bin(tmp_path / "a", {"train": pictures(0, 1, 2, 3, 4), "test": pictures(8, 9)})
    b = write_bin(tmp_path / "b", {"train": pictures(2, 1, 1, near=(3, 4)), "test": pictures(10, near=(8,))})
    return a, b


def test_counts_and_pairs(tmp_path: Path, bins: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = report(tmp_path, *bins, "--distance", 6)
    assert [(entry["a"], entry["b"]) for entry in found["splits"]] == [
        ("test", "test"), ("test", "train"), ("train", "test"), ("train", "train"),
    ]  # fmt: skip
    both, none = found["splits"][3], found["splits"][1]
    assert both["images_a"] == both["images_b"] == 5
    assert (both["a_in_b"], both["b_in_a"]) == ({"exact": 2, "near": 2}, {"exact": 3, "near": 2})
    assert (none["a_in_b"], none["pairs"]) == ({"exact": 0, "near": 0}, [])
    assert found["splits"][0]["a_in_b"] == {"exact": 0, "near": 1}
    pairs = [(pair["a"]["name"], pair["b"]["name"], pair["b"]["index"], pair["same_bytes"]) for pair in both["pairs"]]
    assert sorted(pairs[:2]) == [("3.png", "near3.png", 3, False), ("4.png", "near4.png", 4, False)]
    assert pairs[2:] == [("1.png", "1.png", 1, True), ("2.png", "2.png", 0, True)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in lines if line.startswith("train of B in train of A")] == [["5", "3", "2"]]


def test_only_the_same_bytes(tmp_path: Path, bins: tuple[Path, Path]) -> None:
    found = report(tmp_path, *bins, "--distance", -1, "--splits-a", "train", "--splits-b", "train")
    assert [entry["a_in_b"] for entry in found["splits"]] == [{"exact": 2, "near": 0}]


def test_limit_keeps_the_doubtful_pairs(tmp_path: Path, bins: tuple[Path, Path]) -> None:
    found = report(tmp_path, *bins, "--limit", 2, "--splits-a", "train", "--splits-b", "train")
    assert [pair["same_bytes"] for pair in found["splits"][0]["pairs"]] == [False, False]


def test_splits_of_one_databin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bin(tmp_path / "a", {"train": pictures(1, 2), "valid": pictures(2), "test": pictures(3)})
    found = report(tmp_path, folder)
    counts = {(entry["a"], entry["b"]): entry["a_in_b"]["exact"] for entry in found["splits"]}
    assert counts == {("test", "train"): 0, ("test", "valid"): 0, ("train", "valid"): 1}
    one_way = report(tmp_path, folder, "--splits-a", "val", "--splits-b", "train,val")
    assert [(entry["a"], entry["b"]) for entry in one_way["splits"]] == [("valid", "train")]
    only = write_bin(tmp_path / "only", {"train": pictures(1)})
    with pytest.raises(PrepError, match="no two splits to compare: name a second data-bin"):
        run(only)


def test_shards_are_one_databin(tmp_path: Path) -> None:
    shards = write_sharded(tmp_path / "s", [{"train": pictures(1, 2)}, {"train": pictures(3, 4)}])
    other = write_bin(tmp_path / "b", {"test": pictures(4, 5)})
    entry = report(tmp_path, shards, other)["splits"][0]
    assert (entry["images_a"], entry["a_in_b"]) == (4, {"exact": 1, "near": 0})
    assert entry["pairs"][0]["a"] == {"split": "train", "shard": "shard1", "index": 1, "name": "4.png"}


def test_unknown_splits_are_errors(bins: tuple[Path, Path]) -> None:
    with pytest.raises(PrepError, match=r"--splits-b: .* has no split nosuch; it has: test, train"):
        run(*bins, "--splits-b", "nosuch")
    with pytest.raises(SystemExit):
        run(*bins, "--limit", "301")


def test_sheet_shows_the_pairs(tmp_path: Path, bins: tuple[Path, Path]) -> None:
    out = tmp_path / "sheet.png"
    assert run(*bins, "--out", out, "--splits-a", "train", "--splits-b", "train") == 0
    sheet = Image.open(out)
    # Four pairs in three columns and two rows.
    assert sheet.size == (3 * (2 * THUMBNAIL + 16) + 12, 2 * (THUMBNAIL + 60) + 12)
    middle = 12 + 16 + THUMBNAIL // 2
    left, right = (np.array(sheet)[middle, 12 + side : 12 + side + 96].std() for side in (32, THUMBNAIL + 36))
    assert left > 20
    assert right == pytest.approx(left, rel=0.01)


def test_sheet_of_nothing_and_of_unreadable_pictures() -> None:
    assert contact_sheet([]).width > THUMBNAIL
    sheet = contact_sheet([Pair(None, Image.new("RGB", (160, 20), "red"), "x" * 500, "n\x1b[2J", "日本" * 100)])
    assert sheet.getpixel((12 + 2, 12 + 16 + 2)) == (220, 220, 220)
    assert sheet.getpixel((12 + THUMBNAIL + 4 + 80, 12 + 16 + 80)) == (255, 0, 0)


def test_names_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a\x1b[2Jb"
    write_bin(folder, {"train": pictures(1), "test": pictures(1)})
    run(folder)
    assert "\x1b" not in capsys.readouterr().out
