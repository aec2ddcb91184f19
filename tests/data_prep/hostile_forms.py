"""Sources of text and JSON files, written record by record, so that any record may be whatever bytes."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_images import encoded, picture
from hostile_items import Item

# Path of a value within the objects of a record: part, then keys.
ValuePath = tuple[str | int, ...]


@dataclass(frozen=True)
class Form:
    """A kind of source and how its files are written.

    Attributes:
        name: command of mvlm-prep, and what is particular.
        arguments: of the command: FOLDER/ stands for the folder of the source.
        files: name of each file and what it consists of: bytes, or the name of the part whose records stand there.
        record: name, caption and number -> bytes of each part, or JSON values that are to become so.
        image_name: number -> name of an image.
        names: which files a record can name, see bad_name().
        required: values whose type matters.
        separator: between records.
        counts_from: number of the first record, or line.
    """

    name: str
    arguments: str
    files: Mapping[str, tuple[bytes | str, ...]]
    record: Callable[[str, str, int], dict[str, Any]]
    image_name: Callable[[int], str] = "{:06d}.png".format
    names: str = "any"
    required: tuple[ValuePath, ...] = ()
    separator: bytes = b"\n"
    counts_from: int = 1

    @property
    def command(self) -> str:
        """The subcommand of mvlm-prep."""
        return self.arguments.split()[0]

    @property
    def is_json(self) -> bool:
        """Whether a record is JSON."""
        return bool(self.required)

    @property
    def is_json_list(self) -> bool:
        """Whether all records are one JSON text."""
        return self.is_json and self.separator != b"\n"

    def raw_record(self, name: str, text: str, number: int) -> dict[str, bytes]:
        """The bytes of each part of a record."""
        values = self.record(name, text, number)
        return {part: value if isinstance(value, bytes) else as_json(value) for part, value in values.items()}

    def write(self, folder: Path, items: list[Item]) -> list[str]:
        """Write the source; returns the arguments of mvlm-prep and fills in the places of the items."""
        images = folder / "images"
        images.mkdir(parents=True)
        records = [item.raw or self.raw_record(item.name, item.text, item.number) for item in items]
        for file, layout in self.files.items():
            content = b""
            for piece in layout:
                if isinstance(piece, bytes):
                    content += piece
                else:
                    _note_places(items, str(folder / file), piece, [record[piece] for record in records], self)
                    content += self.separator.join(record[piece] for record in records)
            (folder / file).write_bytes(content)
        for item in items:
            write_image_file(images / item.name, item)
        return self.arguments.replace("FOLDER", str(folder)).split()


def _note_places(items: list[Item], path: str, part: str, pieces: list[bytes], form: Form) -> None:
    position = form.counts_from
    for index, (item, piece) in enumerate(zip(items, pieces, strict=True)):
        if form.is_json_list:
            item.places |= {(path, index), (path, f"{part}[{index}]")}
            continue
        lines = piece.count(b"\n") + 1
        item.places |= {(path, position + line) for line in range(lines)}
        position += lines


def write_image_file(path: Path, item: Item) -> None:
    """Put what an item has as its image into its place."""
    if item.data is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if "-img0" in item.name:
        # The right photo of a pair of NLVR2; of a bad pair it may be the bad one.
        right, swapped = path.with_name(path.name.replace("-img0", "-img1")), item.kind and item.number % 2
        good, path = (path, right) if swapped else (right, path)
        good.write_bytes(encoded(picture(item.number + 500), "PNG"))
    if isinstance(item.data, bytes):
        path.write_bytes(item.data)
    else:
        item.data(path)


def as_json(value: Any) -> bytes:
    """A JSON value as bytes."""
    return json.dumps(value).encode()


def _csv_row(*cells: str) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


def _line(*fields: str, separator: str = "\t") -> bytes:
    return separator.join(fields).encode("utf-8", "surrogatepass")


def _lines(part: str, head: bytes = b"") -> tuple[bytes | str, ...]:
    return (head, part, b"\n")


def _json_list(part: str) -> tuple[bytes | str, ...]:
    return (b"[", part, b"]")


def _json_object(**parts: str) -> tuple[bytes | str, ...]:
    pieces: list[bytes | str] = [b'{"info": {}']
    for name, part in parts.items():
        pieces += [b', "%s": [' % name.encode(), part, b"]"]
    return (*pieces, b"}")


def _question(name: str, text: str, number: int) -> dict[str, Any]:
    answers = [{"answer": "yes", "answer_id": 1}, {"answer": "no", "answer_id": 2}]
    return {
        "questions": {"question_id": number, "image_id": number, "question": text},
        "annotations": {
            "question_id": number, "image_id": number, "answers": answers, "answer_type": "yes/no",
            "multiple_choice_answer": "yes", "question_type": "is",
        },
    }  # fmt: skip


def _statement(name: str, text: str, number: int) -> dict[str, Any]:
    return {"lines": {"identifier": f"train-{number}-0-0", "sentence": text, "label": "True"}}


_TEXT_FORMS = (
    Form(
        "tsv", "tsv --captions FOLDER/captions.tsv --splits FOLDER/splits.tsv --images FOLDER/images",
        {"captions.tsv": _lines("lines"), "splits.tsv": _lines("splits")},
        lambda name, text, number: {"lines": _line(name, text), "splits": _line(name, "train")},
    ),
    Form(
        "csv", "csv --data FOLDER/data.csv --images FOLDER/images --fields label",
        {"data.csv": _lines("lines", b"image,caption,label\n")},
        lambda name, text, number: {"lines": _csv_row(name, text, str(number))}, counts_from=2,
    ),
    Form(
        "flickr30k results.csv", "flickr30k --captions FOLDER/results.csv --images FOLDER/images",
        {"results.csv": _lines("lines", b"image_name| comment_number| comment\n")},
        lambda name, text, number: {"lines": _line(name, " 0", f" {text}", separator="|")}, counts_from=2,
    ),
    Form(
        "flickr30k .token", "flickr30k --captions FOLDER/results.token --images FOLDER/images",
        {"results.token": _lines("lines")},
        lambda name, text, number: {"lines": _line(f"{name}#0", text)},
    ),
    Form(
        "sbu text", "sbu --urls FOLDER/urls.txt --captions FOLDER/captions.txt --images FOLDER/images",
        {"urls.txt": _lines("urls"), "captions.txt": _lines("lines")},
        # One line more would shift all addresses behind it.
        lambda name, text, number: {"urls": _line(f"http://x.org/{name}".replace("\n", "")), "lines": _line(text)},
    ),
    Form(
        "cc", "cc --tsv FOLDER/cc.tsv --images FOLDER/images --name-by url-basename",
        {"cc.tsv": _lines("lines")},
        lambda name, text, number: {"lines": _line(text, f"http://x.org/{name}")},
    ),
)  # fmt: skip
_JSON_LINE_FORMS = (
    Form(
        "jsonl", "jsonl --data FOLDER/data.jsonl --images FOLDER/images --fields label --split-column split",
        {"data.jsonl": _lines("lines")},
        lambda name, text, number: {"lines": {"image": name, "caption": text, "label": number, "split": "train"}},
        required=(("lines", "image"), ("lines", "caption"), ("lines", "split")),
    ),
    Form(
        "nlvr2", "nlvr2 --json FOLDER/train.json --images FOLDER/images", {"train.json": _lines("lines")}, _statement,
        "train-{}-0-img0.png".format, "none", (("lines", "identifier"), ("lines", "sentence"), ("lines", "label")),
    ),
    Form(
        "snli-ve", "snli-ve --jsonl FOLDER/train.jsonl --images FOLDER/images", {"train.jsonl": _lines("lines")},
        lambda name, text, number: {
            "lines": {"Flickr30K_ID": f"{number:07d}", "sentence2": text, "gold_label": "neutral", "pairID": text}
        },
        "{:07d}.jpg".format, "none", (("lines", "Flickr30K_ID"), ("lines", "sentence2"), ("lines", "gold_label")),
    ),
)  # fmt: skip
_JSON_FORMS = (
    Form(
        "karpathy", "karpathy --json FOLDER/dataset.json --images FOLDER/images",
        {"dataset.json": _json_object(images="images")},
        lambda name, text, number: {
            "images": {"filename": name, "split": "train", "sentences": [{"raw": text}], "cocoid": number}
        },
        required=tuple(
            ("images", *keys) for keys in (("filename",), ("split",), ("sentences",), ("sentences", 0, "raw"))
        ), separator=b",",
    ),
    Form(
        "coco", "coco --json FOLDER/captions.json --images FOLDER/images",
        {"captions.json": _json_object(images="images", annotations="annotations")},
        lambda name, text, number: {
            "images": {"id": number, "file_name": name, "coco_url": "http://images.cocodataset.org/x.jpg"},
            "annotations": {"id": number, "image_id": number, "caption": text},
        },
        required=(("images", "id"), ("images", "file_name"), ("annotations", "image_id"), ("annotations", "caption")),
        separator=b",",
    ),
    Form(
        "visual-genome",
        "visual-genome --regions FOLDER/regions.json --image-data FOLDER/image_data.json --images FOLDER/images",
        {"regions.json": _json_list("regions"), "image_data.json": _json_list("image data")},
        lambda name, text, number: {
            "regions": {"id": number, "regions": [{"phrase": text, "region_id": number, "x": 1}]},
            "image data": {"image_id": number, "url": f"https://x.org/{name}", "coco_id": None, "flickr_id": number},
        },
        "VG_100K/{:06d}.png".format,
        required=(
            ("regions", "id"), ("regions", "regions"), ("regions", "regions", 0, "phrase"), ("image data", "image_id"),
            ("image data", "url"),
        ), separator=b",",
    ),
    Form(
        "sbu lists", "sbu --json FOLDER/sbu.json --images FOLDER/images",
        {"sbu.json": _json_object(image_urls="urls", captions="captions")},
        lambda name, text, number: {"urls": f"http://x.org/{name}", "captions": text},
        required=(("urls",), ("captions",)), separator=b",",
    ),
    Form(
        "sbu objects", "sbu --json FOLDER/sbu.json --images FOLDER/images", {"sbu.json": _json_list("entries")},
        lambda name, text, number: {"entries": {"image": name, "caption": text}},
        required=(("entries", "image"), ("entries", "caption")), separator=b",",
    ),
    Form(
        "vqa",
        "vqa --questions FOLDER/questions.json --annotations FOLDER/annotations.json --images FOLDER/images",
        {
            "questions.json": (*_json_object(questions="questions")[:-1], b', "data_subtype": "train2014"}'),
            "annotations.json": _json_object(annotations="annotations"),
        },
        _question, "COCO_train2014_{:012d}.jpg".format, "none",
        (
            ("questions", "question_id"), ("questions", "image_id"), ("questions", "question"),
            ("annotations", "question_id"), ("annotations", "answers"), ("annotations", "answers", 0, "answer"),
        ), b",",
    ),
)  # fmt: skip
FORMS = (*_TEXT_FORMS, *_JSON_LINE_FORMS, *_JSON_FORMS)
