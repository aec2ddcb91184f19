"""mvlm-prep stats, with numbers counted by hand."""

import argparse
import builtins
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from databin_helpers import Picture, encoded, marked, scenery, write_bin, write_sharded
from PIL import Image

from data_prep.inspection import split_stats
from data_prep.inspection.histogram import Distribution
from data_prep.inspection.stats import TOOL, collect
from data_prep.records import PrepError

HOSTILE = "</title><script>alert(1)</script>\x1b[2J"


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    TOOL.add_options(parser)
    return TOOL.run(parser.parse_args([str(argument) for argument in arguments]))


def pictures() -> list[Picture]:
    """Four pictures: the second is nearly the first, the fourth is the third again."""
    wide = encoded(scenery(2, (200, 50)), "JPEG")
    return [
        Picture(
            "0.png", encoded(scenery(1)), ("aab", "b"), ({"label": 1, "tags": ["x", "y"]}, {"label": 2, "tags": []})
        ),
        Picture("1.png", encoded(marked(scenery(1))), ("azz",), ({"label": 1, "tags": ["x"]},)),
        Picture("2.jpg", wide, (), ()),
        Picture("3.jpg", wide, ("aaaaaaaaaa",), ({"label": None, "tags": ["x"]},)),
    ]


@pytest.fixture
def databin(tmp_path: Path) -> Path:
    return write_bin(
        tmp_path / "bin",
        {"train": pictures(), "valid": [Picture("v.png", encoded(Image.new("RGB", (9, 9))), ("ab",))]},
        rejected={"total": 3, "by_reason": {"bad image": 2, HOSTILE: 1}},
        excluded={"coco.json": {"ids": 5, "near": 1}},
        duplicates={"policy": "keep"},
    )


def test_distribution_of_whole_numbers() -> None:
    distribution = Distribution()
    distribution.add(np.array([1, 2, 2, 3]))
    distribution.add(np.array([[10, 2]]))
    assert distribution.summary() == {
        "count": 6,
        "min": 1,
        "mean": 3.3333,
        "max": 10,
        # Of 1 2 2 2 3 10: ranks 0.3, 1.5, 3, 4.5 and 5.7 of 6, rounded up.
        "percentiles": {"5": 1, "25": 2, "50": 2, "75": 3, "95": 10},
        "histogram": [
            {"from": value, "to": value + 1, "count": {1: 1, 2: 3, 3: 1, 10: 1}.get(value, 0)} for value in range(1, 11)
        ],
    }
    assert Distribution().summary() is None


def test_distribution_has_at_most_twenty_bins() -> None:
    distribution = Distribution(digits=1)
    distribution.add(np.arange(0, 4.2, 0.1))
    summary = distribution.summary()
    assert summary is not None
    # 42 values from 0 to 4.1 in bins of 0.3.
    assert [entry["count"] for entry in summary["histogram"]] == [3] * 14
    assert summary["histogram"][-1] == {"from": 3.9, "to": 4.2, "count": 3}
    whole = Distribution()
    whole.add(np.arange(21))
    summary = whole.summary()
    assert summary is not None
    assert [entry["count"] for entry in summary["histogram"]] == [2] * 10 + [1]


@pytest.mark.parametrize("piece", [1 << 20, 2])
def test_figures(databin: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PIECE", "_CONTENTS_AT_ONCE"):
        monkeypatch.setattr(split_stats, name, piece)
    report = collect(databin)
    json.dumps(report)
    train = report["splits"]["train"]
    assert (train["images"], train["captions"], train["images_per_text"]) == (4, 4, 1)
    assert train["captions_per_image"]["histogram"] == [
        {"from": 0, "to": 1, "count": 1}, {"from": 1, "to": 2, "count": 2}, {"from": 2, "to": 3, "count": 1},
    ]  # fmt: skip
    lengths = train["caption_tokens"]
    assert (lengths["min"], lengths["mean"], lengths["max"], lengths["count"]) == (1, 17 / 4, 10, 4)
    assert lengths["percentiles"] == {"5": 1, "25": 1, "50": 3, "75": 3, "95": 10}
    words = train["vocabulary"]
    # 256 bytes without z and ~; "azz" has two unknown tokens.
    assert (words["dictionary"], words["used"], words["tokens"], words["unknown_tokens"]) == (254, 2, 17, 2)
    assert words["unknown_rate"] == 2 / 17
    assert words["most_frequent"] == [
        {"id": ord("a") + 4, "token": "a", "count": 13},
        {"id": ord("b") + 4, "token": "b", "count": 2},
    ]
    assert (train["width"]["min"], train["width"]["mean"], train["width"]["max"]) == (96, 148, 200)
    assert (train["height"]["min"], train["height"]["max"]) == (50, 80)
    assert (train["aspect"]["min"], train["aspect"]["max"]) == (1.2, 4)
    assert train["megapixels"]["max"] == 0.01
    assert train["bytes"] == sum(len(picture.data) for picture in pictures())
    assert train["formats"] == {"sample": 4, "counts": {"PNG": 2, "JPEG": 2}}
    assert train["modes"] == {"RGB": 4}
    assert train["duplicates"] == {"same_bytes": 1, "near": {"distance": 6, "sample": 4, "with_near_duplicate": 4}}
    assert report["splits"]["valid"]["duplicates"]["near"] == {"distance": 6, "sample": 0, "with_near_duplicate": 0}
    assert report["rejected"]["total"] == 3


def test_label_fields(databin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = collect(databin)["splits"]["train"]["fields"]
    assert fields == {
        "label": {
            "type": "integer",
            "missing": 1,
            "different": 2,
            "most_frequent": [{"value": 1, "count": 2}, {"value": 2, "count": 1}],
        },
        "tags": {
            "type": "list",
            "missing": 0,
            "different": 2,
            "most_frequent": [{"value": "x", "count": 3}, {"value": "y", "count": 1}],
        },
    }
    assert collect(databin)["splits"]["valid"]["fields"] == {}
    monkeypatch.setattr(split_stats, "_MAX_VALUES", 1)
    tags = collect(databin)["splits"]["train"]["fields"]["tags"]
    assert (tags["different"], tags["most_frequent"]) == (None, [{"value": "x", "count": 3}])


def test_shards_are_added_up(tmp_path: Path) -> None:
    same = [Picture("x.png", encoded(scenery(3)), ("abc",))]
    folder = write_sharded(tmp_path / "s", [{"train": same, "valid": same}, {"train": [*same, *same]}])
    report = collect(folder)
    assert [(split, entry["images"], entry["captions"]) for split, entry in report["splits"].items()] == [
        ("train", 3, 3),
        ("valid", 1, 1),
    ]
    assert report["splits"]["train"]["duplicates"]["same_bytes"] == 2
    assert report["splits"]["train"]["vocabulary"]["tokens"] == 9
    assert report["splits"]["valid"]["duplicates"]["near"] == {"distance": 6, "sample": 1, "with_near_duplicate": 0}


def test_text_and_json(databin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stats.json"
    assert run(databin, "--json", path) == 0
    out = capsys.readouterr().out
    assert json.loads(path.read_text()) == collect(databin)
    assert "train: 4 images, 4 captions" in out
    assert "2 of 254 entries used (0.8%), 2 of 17 tokens unknown (11.765%)" in out
    assert "most frequent: a 13, b 2" in out
    assert 'label field tags (list): missing 0, 2 values: "x" 3, "y" 1' in out
    assert "excluded by coco.json: ids 5, near 1" in out
    row = next(line for line in out.splitlines() if "tokens of a caption" in line)
    assert row.split()[-8:] == ["1", "1", "1", "3", "3", "10", "10", "4.25"]
    assert all(char.isprintable() for line in out.splitlines() for char in line)


class _Page(HTMLParser):
    """Collects elements and the text outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    hostile = Picture(HOSTILE, encoded(scenery(1)), (HOSTILE,), ({HOSTILE: HOSTILE},))
    folder = write_bin(
        tmp_path / "bin", {"train": [hostile, hostile]},
        rejected={"total": 1, "by_reason": {HOSTILE: 1}}, excluded={HOSTILE: {"ids": 1}},
    )  # fmt: skip
    path = tmp_path / "stats.html"
    assert run(folder, "--html", path) == 0
    text = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    tags = [tag for tag, _ in page.elements]
    assert "script" not in tags
    assert tags.count("title") == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J") >= 6
    # Captions an image, tokens, width, height, aspect, megapixels, KiB.
    assert tags.count("svg") == 7
    pictures = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    links = [value for _, attributes in page.elements for key, value in attributes.items() if key in {"src", "href"}]
    assert not [link for link in links if not link.startswith(("data:", "#"))]
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    clips = [name for name in names if re.fullmatch(r"p[0-9a-f]{10}", name)]
    assert len(clips) == len(set(clips)) >= 7
    assert "\x1b" not in text


def test_pages_need_matplotlib(databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PrepError, match=r"pip install 'mvlm-plugin\[plots\]'"):
        run(databin, "--html", tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_unreadable_pictures_are_counted(databin: Path, tmp_path: Path) -> None:
    content = bytearray((databin / "valid.images.bin").read_bytes())
    content[20] ^= 1
    (databin / "valid.images.bin").write_bytes(content)
    assert collect(databin)["splits"]["valid"]["formats"] == {"sample": 1, "counts": {"unreadable": 1}}
    assert run(databin, "--html", tmp_path / "x.html") == 0
    assert "cannot be read" in (tmp_path / "x.html").read_text(encoding="utf-8")
