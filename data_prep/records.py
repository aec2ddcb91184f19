"""What flows through preparation: captions and images of a source, loaded images, and what was rejected."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]+")
_CAPTION_EXCERPT = 200


class PrepError(RuntimeError):
    """Preparation cannot go on; the message is one line that names the fix."""


class Caption(NamedTuple):
    """One caption and where it comes from.

    Attributes:
        text: the caption as the source has it.
        source: name of the source file as it was given.
        position: line number (from 1) or record number (from 0) in the source.
    """

    text: str
    source: str
    position: int


class SourceImage(NamedTuple):
    """An image and its captions in source order; every reader yields each image once.

    Attributes:
        image: path of the image as the source names it, relative to the images folder.
        split: name of the split, as it is stored.
        captions: at least one.
    """

    image: str
    split: str
    captions: list[Caption]


class ImageJob(NamedTuple):
    """A source image and what a worker process needs to load it.

    Attributes:
        record: the image; its captions are clean.
        payload: argument of the loading function.
    """

    record: SourceImage
    payload: Any


class LoadedImage(NamedTuple):
    """An image that was decoded completely.

    Attributes:
        data: the encoded bytes, unchanged.
        width, height: pixels, after EXIF orientation.
        mode: Pillow colour mode before the conversion to RGB.
        crc32: checksum of data.
    """

    data: bytes
    width: int
    height: int
    mode: str
    crc32: int


class BadImage(NamedTuple):
    """Why an image cannot be used: a short category for counting and the full reason."""

    category: str
    reason: str


def is_split_name(name: str) -> bool:
    """Whether a split may be called so: its name becomes part of file names."""
    return SPLIT_NAME.fullmatch(name) is not None


class RejectionLog:
    """Collects dropped records in order.

    Args:
        position_name: what a position counts in this source, "line" or "record".
    """

    def __init__(self, position_name: str) -> None:
        self.by_category: Counter[str] = Counter()
        self._position_name = position_name
        self._entries: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        category: str,
        reason: str,
        source: str,
        position: int,
        image: str | None = None,
        caption: str | None = None,
    ) -> None:
        """Record one dropped record; caption is given where a single caption was dropped."""
        entry: dict[str, Any] = {"source": source, self._position_name: position, "image": image}
        if caption is not None:
            entry["caption"] = caption[:_CAPTION_EXCERPT]
        entry["reason"] = reason
        self._entries.append(entry)
        self.by_category[category] += 1

    def add_image(self, record: SourceImage, bad: BadImage) -> None:
        """Record that an image was dropped: one entry for each of its captions."""
        for caption in record.captions:
            self.add(bad.category, bad.reason, caption.source, caption.position, record.image, caption.text)

    def write(self, path: Path) -> None:
        """Write JSON lines, one a dropped record; the file may be empty."""
        with open(path, "w", encoding="utf-8") as file:
            for entry in self._entries:
                file.write(json.dumps(entry) + "\n")

    def summary(self) -> str:
        """Counts by category, most frequent first."""
        ordered = sorted(self.by_category.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{category} {count:,}" for category, count in ordered)
