"""One unit of work: reads, decodes and stores the images of a part, in a folder that appears complete or not at all."""

import hashlib
import json
import shutil
import struct
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from .destination import private_path, publish_folder
from .entries import Entries, Entry, Place
from .exclusion import Exclusions
from .image_check import ImageSettings, check_image
from .image_files import ImageFile
from .parallel import count_done
from .records import BadImage, LoadedImage, RejectionLog

SUMMARY = "part.json"
REJECTED = "rejected.jsonl"
# A part has some ten files of each split open.
_MAX_SPLITS = 64


@dataclass(frozen=True)
class PartJob:
    """What is the same for all parts; goes to the worker processes.

    Attributes:
        folder: where the parts are written.
        entries: gives the images of a part.
        settings: how images are checked and stored.
        packed: whether image bytes are copied; otherwise the source's files are referred to.
        exclusions: training images that are kept out by what they show.
        position_name: see RejectionLog.
    """

    folder: Path
    entries: Entries
    settings: ImageSettings
    packed: bool
    exclusions: Exclusions | None
    position_name: str


def part_folder(parts: Path, number: int) -> Path:
    """Folder of a finished part."""
    return parts / f"{number:06d}"


def is_part_sound(folder: Path) -> bool:
    """Whether a part is there with all its bytes, which a machine that lost power may have lost."""
    try:
        files = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def run_part(job: PartJob, number: int) -> int:
    """Make a part; one that is there already stays.

    Returns:
        Its number.

    Raises:
        PrepError, OSError: the part cannot be made; nothing of it is left.
    """
    folder = part_folder(job.folder, number)
    if is_part_sound(folder):
        return number
    shutil.rmtree(folder, ignore_errors=True)
    partial = private_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd but readable images
            _write_part(job, number, partial)
        publish_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return number


def _write_part(job: PartJob, number: int, folder: Path) -> None:
    writers: dict[str, PartSplitWriter] = {}
    with RejectionLog(folder / REJECTED, job.position_name) as log:
        for entry in job.entries.read(number, log):
            count_done()
            image = _load(entry, job, log)
            if entry.split not in writers and len(writers) == _MAX_SPLITS:
                image = BadImage("too many splits", f"{entry.split!r} would be one more than {_MAX_SPLITS} splits")
            if isinstance(image, BadImage):
                for text in entry.texts:
                    log.add(image.category, image.reason, text.source, text.position, entry.name, text.text)
                if not entry.texts:  # it is the second image of a text
                    log.add(image.category, image.reason, entry.source, entry.position, entry.name)
                continue
            if entry.split not in writers:
                writers[entry.split] = PartSplitWriter(folder, entry.split, job.packed)
            writers[entry.split].add(image, entry)
    summary = {
        "splits": {split: writer.close() for split, writer in sorted(writers.items())},
        "rejected": dict(log.by_category),
        "excluded": log.excluded,
        "files": {path.name: path.stat().st_size for path in folder.iterdir()},
    }
    (folder / SUMMARY).write_text(json.dumps(summary), encoding="utf-8")


def _load(entry: Entry, job: PartJob, log: RejectionLog) -> LoadedImage | BadImage:
    if isinstance(entry.data, BadImage):
        return entry.data
    if not job.packed and entry.place is None:
        return BadImage("cannot be referenced", "its bytes do not lie in an uncompressed local file")
    image = check_image(entry.data, job.settings)
    if isinstance(image, LoadedImage) and job.exclusions is not None and entry.split == "train":
        hit = job.exclusions.by_hash(image.content, image.perceptual)
        if hit is not None:
            name, how = hit
            log.count_excluded(name, how)
            likeness = "has the same bytes as" if how == "exact" else "looks like"
            return BadImage("excluded", f"the image {likeness} one of {name}")
    return image


# As the record of the image index: container, length, offset, width, height, crc32, zero.
_RECORD = struct.Struct("<IIQIIII")
_HASH = struct.Struct("<16sQ")
_INTEGER = struct.Struct("<q")


@lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    return json.dumps(text)


class PartSplitWriter:
    """Writes what a part has of one split, file by file, in constant memory.

    Files: ``SPLIT.images.bin`` (packed), ``.records`` and ``.hashes`` (raw arrays), ``.owners`` (int64, image of each
    caption within the part's split), ``.plan_ids`` (int64), and lines: ``.containers``, ``.names``, ``.captions``,
    ``.origins`` (source and position of each caption), ``.more`` (plan ids of the further images of each caption that
    has some), and, where the source has them, ``.fields``.
    """

    def __init__(self, folder: Path, split: str, packed: bool) -> None:
        self._prefix = str(folder / split)
        self._files: dict[str, BinaryIO] = {}
        self._packed = packed
        self._offset = 0
        self._container: ImageFile | None = None
        self._containers = self._images = self._captions = self._image_bytes = 0
        self._sha256 = hashlib.sha256()
        self._modes: Counter[str] = Counter()
        for kind in ("owners", "captions", "origins", "more"):  # all images may be second images of texts
            self._write(kind, b"")

    def add(self, image: LoadedImage, entry: Entry) -> None:
        """Store an image and its captions."""
        offset = self._store(image, entry.place)
        container = max(self._containers - 1, 0)
        size = (image.width, image.height)
        self._write("records", _RECORD.pack(container, len(image.data), offset, *size, image.crc32, 0))
        self._write("hashes", _HASH.pack(image.content, image.perceptual))
        self._write("plan_ids", _INTEGER.pack(entry.plan_id))
        self._line("names", " ".join(entry.name.splitlines()))
        owner = _INTEGER.pack(self._images)
        for text in entry.texts:
            self._write("owners", owner)
            self._line("captions", text.text)
            self._line("origins", f"[{_quoted(text.source)}, {json.dumps(text.position)}]")
            if text.fields is not None:
                self._line("fields", json.dumps(text.fields))
            if text.more:
                self._line("more", json.dumps(text.more))
        self._captions += len(entry.texts)
        self._images += 1
        self._image_bytes += len(image.data)
        self._modes[image.mode] += 1

    def _store(self, image: LoadedImage, place: Place | None) -> int:
        """Copy or refer to the bytes; returns their offset in the current container."""
        if self._packed:
            self._containers = 1
            self._write("images.bin", image.data)
            self._sha256.update(image.data)
            self._offset += len(image.data)
            return self._offset - len(image.data)
        assert place is not None
        if place.container != self._container:
            self._container = place.container
            self._containers += 1
            self._line("containers", json.dumps(place.container))
        return place.offset

    def _write(self, kind: str, data: bytes) -> None:
        if kind not in self._files:
            self._files[kind] = open(f"{self._prefix}.{kind}", "wb")  # noqa: SIM115 (closed by close())
        self._files[kind].write(data)

    def _line(self, kind: str, text: str) -> None:
        self._write(kind, text.encode("utf-8", "backslashreplace") + b"\n")

    def close(self) -> dict[str, Any]:
        """Complete the files; returns the split's entry of the part's summary."""
        for file in self._files.values():
            file.close()
        return {
            "images": self._images,
            "captions": self._captions,
            "image_bytes": self._image_bytes,
            "image_modes": dict(sorted(self._modes.items())),
            "container_sha256": self._sha256.hexdigest() if self._packed else None,
        }
