import json
from pathlib import Path

import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.evaluation.scenes import SceneFacts, SceneObject, read_scenes, scenes_path

LINE = {
    "objects": [{"size": "small", "colour": "red", "shape": "star", "box": [1, 2, 13, 14]}],
    "relations": [],
    "background": "navy",
    "caption": "a small red star on a navy background",
}


def write(folder: Path, *lines: str) -> None:
    scenes_path(folder, "test").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_line_is_a_scene(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(LINE))
    star = SceneObject("small", "red", "star", (1, 2, 13, 14))
    assert read_scenes(tmp_path, "test", 1) == [SceneFacts((star,), "navy")]


def test_another_number_of_lines_than_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path, json.dumps(LINE), json.dumps(LINE))
    with pytest.raises(DataBinError, match="2 lines for 3 images"):
        read_scenes(tmp_path, "test", 3)


def test_a_missing_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match=r"test\.scenes\.jsonl is missing: only data-bins of mvlm-prep scenes"):
        read_scenes(tmp_path, "test", 1)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({**LINE, "objects": 3}),
        json.dumps({**LINE, "objects": [{**LINE["objects"][0], "box": [1, 2, 3]}]}),
        json.dumps({**LINE, "objects": [{**LINE["objects"][0], "box": [1, 2, 3, "x"]}]}),
        json.dumps({**LINE, "objects": [{**LINE["objects"][0], "colour": None}]}),
        json.dumps({**LINE, "background": 5}),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, json.dumps(LINE), line)
    with pytest.raises(DataBinError, match=r"line 2 of .* is damaged"):
        read_scenes(tmp_path, "test", 2)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    scenes_path(tmp_path, "test").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataBinError, match="cannot be read"):
        read_scenes(tmp_path, "test", 1)
