"""Parquet files and folders of images with bad records."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow
from hostile_forms import write_image_file
from hostile_images import encoded, picture
from hostile_items import Item, words
from hostile_rows import BadRow
from pyarrow import parquet

_LABELS: tuple[tuple[Any, Any], ...] = (
    (pyarrow.date32(), 2**31 - 1), (pyarrow.date64(), 2**60), (pyarrow.timestamp("ns"), 2**62 + 1),
    (pyarrow.timestamp("us", tz="Nowhere/Town"), 1), (pyarrow.timestamp("s"), 2**50),
    (pyarrow.duration("ns"), 2**62 + 1), (pyarrow.time64("ns"), 1), (pyarrow.float64(), float("nan")),
    (pyarrow.float32(), float("inf")),
    (pyarrow.uint64(), 2**64 - 1), (pyarrow.binary(), b"\xff"), (pyarrow.list_(pyarrow.float64()), [float("nan")]),
    (pyarrow.map_(pyarrow.int32(), pyarrow.int32()), [(1, 2)]),
    (pyarrow.struct([("a", pyarrow.binary())]), {"a": b"\xff"}),
)  # fmt: skip


@dataclass(frozen=True)
class ParquetForm:
    """A Parquet file of paths, or of images. A raw record is a dictionary of values; text may be bytes."""

    name: str
    holds_images: bool
    command: str = "parquet"
    image_name: Callable[[int], str] = "{:06d}.png".format

    @property
    def names(self) -> str | None:
        """Which files a record can name; None: it names no file."""
        return None if self.holds_images else "any"

    def write(self, folder: Path, items: list[Item]) -> list[str]:
        """Write the source; returns the arguments of mvlm-prep and fills in the places of the items."""
        (folder / "images").mkdir(parents=True)
        path = str(folder / "data.parquet")
        for row, item in enumerate(items):
            item.places = {(path, row)}
            if not self.holds_images:
                write_image_file(folder / "images" / item.name, item)
        records = [self._record(item) for item in items]
        labels = [record.get("label") for record in records]
        label_type = _LABELS[items[0].number % len(_LABELS)][0]
        columns = {
            "image": self._images(records),
            "caption": _texts([record["caption"] for record in records]),
            "label": pyarrow.array(labels, _raw_type(label_type)).view(label_type)
            if _raw_type(label_type) != label_type
            else pyarrow.array(labels, label_type),
        }
        parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
        arguments = ["parquet", "--data", path, "--fields", "label"]
        return arguments if self.holds_images else [*arguments, "--images", str(folder / "images")]

    def _record(self, item: Item) -> dict[str, Any]:
        image = {"path": item.name, "bytes": item.data} if self.holds_images else item.name
        return {"image": image, "caption": item.text, "label": None, **(item.raw or {})}

    def _images(self, records: list[dict[str, Any]]) -> pyarrow.Array:
        values = [record["image"] for record in records]
        if not self.holds_images:
            return _texts(values)
        paths = _texts([value and value["path"] for value in values])
        data = pyarrow.array([value and value["bytes"] for value in values], pyarrow.binary())
        missing = pyarrow.array([value is None for value in values])
        return pyarrow.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=missing)

    def bad_row(self, random: Random, name: str, number: int, index: int, label: int) -> BadRow:
        """The values of a bad row; label: which type the labels of the file have."""
        image: Any = {"path": name, "bytes": encoded(picture(number), "PNG")} if self.holds_images else name
        kinds: dict[str, tuple[dict[str, Any], bool | None]] = {
            "null as image": ({"image": None}, True),
            "null as caption": ({"caption": None}, True),
            "empty caption": ({"caption": ""}, True),
            "caption that is not UTF-8": ({"caption": b"a dog \xff\xfe"}, True),
            "caption too long": ({"caption": "dog " * 2_600}, True),
            "odd label": ({"label": _LABELS[label % len(_LABELS)][1]}, None),
        }
        if self.holds_images:
            kinds["null as image bytes"] = ({"image": {"path": name, "bytes": None}}, True)
            kinds["no image bytes"] = ({"image": {"path": name, "bytes": b""}}, True)
            kinds["path that is not UTF-8"] = ({"image": {**image, "path": name.encode() + b"\xff"}}, True)
            kinds["path that leads elsewhere"] = ({"image": {**image, "path": f"../../evil{number}.jpg"}}, None)
        else:
            kinds["image that is not UTF-8"] = ({"image": name.encode() + b"\xff"}, True)
        kind = "odd label" if random.random() < 0.4 else random.choice(list(kinds))
        values, must = kinds[kind]
        return BadRow(kind, {"image": image, **values}, must)


def _texts(values: list[str | bytes | None]) -> pyarrow.Array:
    """A column of texts, which may be no UTF-8."""
    raw = [value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value for value in values]
    array = pyarrow.array(raw, pyarrow.binary())
    return pyarrow.Array.from_buffers(pyarrow.string(), len(array), array.buffers(), array.null_count)


def _raw_type(kind: pyarrow.DataType) -> pyarrow.DataType:
    """Integers instead of dates and times: those that Python does not have can be written only so."""
    if not pyarrow.types.is_temporal(kind):
        return kind
    return pyarrow.int32() if kind.bit_width == 32 else pyarrow.int64()


@dataclass(frozen=True)
class FolderForm:
    """A folder with a text file beside each image. A raw record makes the text file."""

    name: str = "folder"
    command: str = "folder"
    names: str = "found"
    image_name: Callable[[int], str] = "{:06d}.png".format

    def write(self, folder: Path, items: list[Item]) -> list[str]:
        """Write the source; returns the arguments of mvlm-prep."""
        images = folder / "images"
        images.mkdir(parents=True)
        for item in items:
            text = (images / item.name).with_suffix(".txt")
            write_image_file(images / item.name, item)
            if item.raw is None:
                text.write_text(item.text, encoding="utf-8", errors="surrogatepass")
            else:
                item.raw(text)
        return ["folder", "--images", str(images)]

    def bad_row(self, random: Random, outside: Path) -> tuple[str, Callable[[Path], object], bool | None]:
        """What makes a bad text file."""
        kinds: dict[str, Callable[[Path], object]] = {
            "empty text": lambda path: path.write_bytes(b""),
            "blank text": lambda path: path.write_bytes(b" \n\xef\xbb\xbf\n\t\n"),
            "text that is not UTF-8": lambda path: path.write_bytes(b"a dog\n\xff\xfe dog"),
            "text of zero bytes": lambda path: path.write_bytes(bytes(100)),
            "text too large": lambda path: path.write_bytes(b"dog " * 300_000),
            "no text": lambda path: None,
            "folder as text": lambda path: path.mkdir(),
            "FIFO as text": lambda path: os.mkfifo(path),
            "link to a device as text": lambda path: path.symlink_to("/dev/zero"),
            "link to nothing as text": lambda path: path.symlink_to("nowhere"),
            "link to itself as text": lambda path: path.symlink_to(path.name),
            "link out of the folder as text": lambda path: path.symlink_to(outside / "canary.txt"),
        }
        kind = random.choice(list(kinds))
        return kind, kinds[kind], True


def good_text(number: int) -> bytes:
    """The caption of a good image."""
    return words(number).encode()
