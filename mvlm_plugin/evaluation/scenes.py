"""What generated pictures show: the file ``SPLIT.scenes.jsonl`` that mvlm-prep scenes writes beside a data-bin."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..data.databin import DataBinError

KINDS = ("size", "colour", "shape")


class SceneObject(NamedTuple):
    """An object: its words, and its box (left, top, right, bottom) in pixels of the stored picture."""

    size: str
    colour: str
    shape: str
    box: tuple[float, float, float, float]


class SceneFacts(NamedTuple):
    """A picture: its objects and the colour of its background."""

    objects: tuple[SceneObject, ...]
    background: str


def scenes_path(folder: Path, split: str) -> Path:
    """The file of a split's scenes; data-bins of other sources have none."""
    return folder / f"{split}.scenes.jsonl"


def read_scenes(folder: Path, split: str, images: int) -> list[SceneFacts]:
    """The scenes of a split, in the order of its images.

    Args:
        folder: the data-bin.
        split: its stored name.
        images: how many images the split has.

    Raises:
        DataBinError: no such file, a line of another form, or not as many lines as images.
    """
    path = scenes_path(folder, split)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataBinError(f"{path} is missing: only data-bins of mvlm-prep scenes have it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataBinError(f"{path} cannot be read: {error}; prepare the data again") from error
    if len(lines) != images:
        raise DataBinError(f"{path} has {len(lines)} lines for {images} images; prepare the data again")
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def _parse(line: str, path: Path, number: int) -> SceneFacts:
    try:
        content = json.loads(line)
        return SceneFacts(tuple(_object(entry) for entry in content["objects"]), _word(content["background"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataBinError(f"line {number} of {path} is damaged ({error}); prepare the data again") from error


def _object(entry: dict[str, Any]) -> SceneObject:
    left, top, right, bottom = map(float, entry["box"])
    size, colour, shape = (_word(entry[kind]) for kind in KINDS)
    return SceneObject(size, colour, shape, (left, top, right, bottom))


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no word")
    return value
