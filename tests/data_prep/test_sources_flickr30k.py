"""The reader of Flickr30k's own files, on samples of both."""

from pathlib import Path

import pytest
from source_helpers import check_example, rows

from data_prep.records import PrepError
from data_prep.sources.flickr30k import COMMAND

# As in the release: separators with a blank before and after, and its one line that lacks a separator.
RESULTS = """image_name| comment_number| comment
1000092795.jpg| 0| Two young guys with shaggy hair look at their hands while hanging out in the yard .
1000092795.jpg| 1| Two young , White males | are outside near many bushes .
2199200615.jpg| 3| A large tan dog sits on a grassy hill .
2199200615.jpg| 4   A dog runs across the grass .
| 0| no name
"""
TOKEN = """1000092795.jpg#0\tTwo young guys with shaggy hair look at their hands .
1000268201_693b08cb0e.jpg#1\tA girl going into a | wooden building .
2258277193_2586949b0b.jpg.1#0\tpeople waiting for the subway
1000092795.jpg 2 no tab
"""


def test_results_csv(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(RESULTS)
    found, rejected = rows(COMMAND, tmp_path, "--captions", path, "--images", "i")
    assert [(row.images[0], row.position, row.text, row.ids, row.split) for row in found] == [
        ("1000092795.jpg", 2, "Two young guys with shaggy hair look at their hands while hanging out in the yard .",
         ("flickr:1000092795",), "train"),
        ("1000092795.jpg", 3, "Two young , White males | are outside near many bushes .",
         ("flickr:1000092795",), "train"),
        ("2199200615.jpg", 4, "A large tan dog sits on a grassy hill .", ("flickr:2199200615",), "train"),
    ]  # fmt: skip
    assert [(entry["position"], entry["image"]) for entry in rejected] == [(5, "2199200615.jpg"), (6, "")]
    assert "found 2 fields" in rejected[0]["reason"]


def test_token_file_with_splits(tmp_path: Path) -> None:
    path, splits = tmp_path / "results.token", tmp_path / "splits.tsv"
    path.write_text(TOKEN)
    splits.write_text("1000092795.jpg\tval\n1000268201_693b08cb0e.jpg\ttrain\n")
    found, rejected = rows(COMMAND, tmp_path, "--captions", path, "--images", "i", "--splits", splits)
    assert [(row.images[0], row.split, row.text, row.ids) for row in found] == [
        ("1000092795.jpg", "valid", "Two young guys with shaggy hair look at their hands .", ("flickr:1000092795",)),
        ("1000268201_693b08cb0e.jpg", "train", "A girl going into a | wooden building .", ("flickr:1000268201",)),
    ]
    assert [(entry["position"], entry["reason"][-12:]) for entry in rejected] == [
        (3, "or the image"),
        (4, "<TAB>caption"),
    ]


def test_another_file_is_an_error_that_names_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "captions.tsv"
    path.write_text("\n1000092795.jpg\tTwo young guys\n")
    with pytest.raises(PrepError, match=r"line 2 is neither .*results.csv.*\.token.*mvlm-prep tsv"):
        rows(COMMAND, tmp_path, "--captions", path, "--images", "i")
    check_example(COMMAND)
