"""What flows through preparation: rows and samples of a source, loaded images, and what was rejected."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

_CAPTION_EXCERPT = 200
# Captions of an image, which are all in memory at once.
MAX_CAPTIONS = 10_000
TOO_MANY_CAPTIONS = ("too many captions", f"an image has at most {MAX_CAPTIONS:,}")


class PrepError(RuntimeError):
    """Preparation cannot go on; the message is one line that names the fix."""


class Row(NamedTuple):
    """One text and the image (or images) it belongs to, as a source has them.

    Attributes:
        images: names of its images as the source names them, relative to the images folder; at least one.
        split: name of the split, as it is stored.
        text: the caption, question or statement.
        source: name of the source file as it was given.
        position: line number (from 1) or record number (from 0) in the source.
        fields: label fields (JSON values by name); None where the source has none.
        ids: identifiers by which evaluation sets name the first image, as far as its file name does not tell them:
            ``coco:391895``, ``flickr:1000092795``.
    """

    images: tuple[str, ...]
    split: str
    text: str
    source: str
    position: int | str
    fields: dict[str, Any] | None = None
    ids: tuple[str, ...] = ()


class BadImage(NamedTuple):
    """Why an image cannot be used: a short category for counting and the full reason."""

    category: str
    reason: str


class Sample(NamedTuple):
    """An image and its texts as an archive holds them together.

    Attributes:
        name: of the image in the archive.
        data: encoded image bytes, or why they cannot be had.
        offset: of the bytes in the archive; None where they do not lie there as they are.
        split, texts, fields, ids: as in Row; fields has one entry a text, or is None.
        position: member or row, for the list of what was dropped.
    """

    name: str
    data: bytes | BadImage
    offset: int | None
    split: str
    texts: tuple[str, ...]
    position: int | str
    fields: tuple[dict[str, Any], ...] | None = None
    ids: tuple[str, ...] = ()


class LoadedImage(NamedTuple):
    """An image that was decoded completely.

    Attributes:
        data: the encoded bytes to be stored.
        width, height: pixels, after EXIF orientation.
        mode: Pillow colour mode before the conversion to RGB.
        crc32: checksum of data.
        content: first 128 bits of the SHA-256 of the bytes as the source has them.
        perceptual: 64-bit perceptual hash.
    """

    data: bytes
    width: int
    height: int
    mode: str
    crc32: int
    content: bytes
    perceptual: int


class RejectionLog:
    """Lists dropped records in a file, one JSON line each, in order. Use it in a ``with`` statement.

    Args:
        path: file to write.
        position_name: what a position counts in this source, "line", "record" or "member".
    """

    def __init__(self, path: Path, position_name: str) -> None:
        self.by_category: Counter[str] = Counter()
        self.excluded: dict[str, Counter[str]] = {}
        self.position_name = position_name
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (closed by close())

    def __enter__(self) -> "RejectionLog":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.by_category.total()

    def add(
        self,
        category: str,
        reason: str,
        source: str,
        position: int | str,
        image: str | None = None,
        caption: str | None = None,
    ) -> None:
        """List one dropped record; caption is given where a single caption was dropped."""
        entry: dict[str, Any] = {"source": source, self.position_name: position, "image": image}
        if caption is not None:
            entry["caption"] = caption[:_CAPTION_EXCERPT]
        entry["reason"] = reason
        self._file.write(json.dumps(entry) + "\n")
        self.by_category[category] += 1

    def count_excluded(self, exclusion: str, how: str) -> None:
        """Count an image that an exclusion kept out; how: "ids", "exact" or "near"."""
        self.excluded.setdefault(exclusion, Counter())[how] += 1

    def close(self) -> None:
        """Write everything out."""
        self._file.close()


def summary_of(by_category: Counter[str]) -> str:
    """Counts by category, most frequent first."""
    ordered = sorted(by_category.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{category} {count:,}" for category, count in ordered)
