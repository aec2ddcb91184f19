"""The plan of a table source: its rows grouped by image, in a SQLite file, so that memory does not grow with them."""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .captions import CaptionLimits, Rejection, accept_caption
from .destination import private_path, publish_folder
from .disk_table import open_database
from .exclusion import Exclusions
from .image_files import ImageFile, image_place
from .parallel import progress_bar
from .records import MAX_CAPTIONS, TOO_MANY_CAPTIONS, BadImage, RejectionLog, Row
from .sources.base import TableSource
from .sources.image_ids import all_ids_of_name

_SCHEMA = """
CREATE TABLE images (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, split TEXT NOT NULL,
  path TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, source BLOB NOT NULL, position);
CREATE TABLE bad_images (key TEXT PRIMARY KEY, category TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE excluded_images (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE texts (
  image INTEGER NOT NULL, text TEXT NOT NULL, source BLOB NOT NULL, position, fields TEXT, more TEXT);
"""
_PLAN = "plan.json"
_DATABASE = "plan.sqlite"
REJECTED = "rejected.jsonl"


class Text(NamedTuple):
    """A clean caption of an image; fields as in Row; more: plan ids of its further images."""

    text: str
    source: str
    position: int | str
    fields: dict[str, Any] | None
    more: tuple[int, ...] = ()


class PlannedImage(NamedTuple):
    """An image with its captions in source order; id counts the plan's images from 1; source, position: first row."""

    id: int
    name: str
    split: str
    file: ImageFile
    texts: list[Text]
    source: str
    position: int | str


@dataclass(frozen=True)
class Plan:
    """What a plan holds.

    Attributes:
        images: how many.
        digest: SHA-256 over all texts, and name, size and modification time of every image.
        splits: names of the splits.
        images_per_text: the most images of a text, 1 or more.
        rejected: rows that were dropped, by category.
        excluded: images kept out, by exclusion and how they were recognised.
    """

    images: int
    digest: str
    splits: list[str]
    images_per_text: int
    rejected: dict[str, int]
    excluded: dict[str, dict[str, int]]


class _Builder:
    """Takes the rows in order."""

    def __init__(self, folder: Path, source: TableSource, limits: CaptionLimits, exclusions: Exclusions | None) -> None:
        self.database = open_database(folder / _DATABASE)
        self.database.executescript(_SCHEMA)
        self.log = RejectionLog(folder / REJECTED, source.position_name)
        self.digest = hashlib.sha256()
        self.images_per_text = 1
        self._place = image_place(source.images)
        self._limits = limits
        self._exclusions = exclusions
        self._latest: tuple[str, str, int | BadImage] = ("", "", 0)

    def add(self, row: Row) -> None:
        """Keep a row, or log why not."""
        self.digest.update(row.text.encode("utf-8", "surrogatepass"))
        text = accept_caption(row.text, self._limits)
        if isinstance(text, Rejection):
            self._reject(row, text.category, text.reason)
            return
        if self._is_excluded(row):
            return
        ids: list[int] = []
        for image in row.images:
            found = self._image(image, row)
            if isinstance(found, BadImage):
                self._reject(row, found.category, found.reason, image)
                return
            ids.append(found)
        self.images_per_text = max(self.images_per_text, len(ids))
        fields = None if row.fields is None else json.dumps(row.fields)
        more = json.dumps(ids[1:]) if len(ids) > 1 else None
        self.database.execute(
            "INSERT INTO texts VALUES (?, ?, ?, ?, ?, ?)",
            (ids[0], text, os.fsencode(row.source), row.position, fields, more),
        )

    def _reject(self, row: Row, category: str, reason: str, image: str | None = None) -> None:
        self.log.add(category, reason, row.source, row.position, image or row.images[0], row.text)

    def _image(self, name: str, row: Row) -> int | BadImage:
        """Plan id of an image; captions of the same image mostly follow each other."""
        if self._latest[:2] != (name, row.split):
            self._latest = (name, row.split, self._look_up(name, row))
        return self._latest[2]

    def _look_up(self, name: str, row: Row) -> int | BadImage:
        """Plan id of an image; it belongs to the split in which it appears first."""
        split = row.split
        key = str(PurePosixPath(name))
        try:
            known = self.database.execute("SELECT id, split FROM images WHERE key = ?", (key,)).fetchone()
            if known is not None:
                if known[1] == split:
                    return known[0]
                return BadImage("conflicting split", f"the image is already in split {known[1]!r}, not {split!r}")
            bad = self.database.execute("SELECT category, reason FROM bad_images WHERE key = ?", (key,)).fetchone()
            if bad is not None:
                return BadImage(*bad)
        except UnicodeEncodeError:
            return BadImage("missing image", "not a possible file name: it has unpaired surrogates")
        return self._new_image(key, name, row)

    def _new_image(self, key: str, name: str, row: Row) -> int | BadImage:
        file = self._place.find(name)
        if isinstance(file, BadImage):
            self.digest.update(f"{key}\0{file.reason}\n".encode("utf-8", "surrogatepass"))
            self.database.execute("INSERT INTO bad_images VALUES (?, ?, ?)", (key, *file))
            return file
        self.digest.update(f"{key}\0{file.size} {file.mtime_ns}\n".encode("utf-8", "surrogatepass"))
        path = os.fsencode(file.path)
        inserted = self.database.execute(
            "INSERT INTO images VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, name, row.split, path, file.size, file.mtime_ns, os.fsencode(row.source), row.position),
        )
        assert inserted.lastrowid is not None
        return inserted.lastrowid

    def _is_excluded(self, row: Row) -> bool:
        if self._exclusions is None or row.split != "train":
            return False
        for image in row.images:
            hit = self._exclusions.by_ids([*row.ids, *all_ids_of_name(image)])
            if hit is not None:
                key = str(PurePosixPath(image)).encode("utf-8", "surrogatepass")
                new = self.database.execute("INSERT OR IGNORE INTO excluded_images VALUES (?)", (key,)).rowcount
                if new:
                    self.log.count_excluded(hit, "ids")
                self._reject(row, "excluded", f"the image is named by {hit}", image)
                return True
        return False

    def finish(self) -> Plan:
        """Complete the files."""
        self.log.close()
        self.database.execute("CREATE INDEX texts_of_image ON texts (image)")
        images = self.database.execute("SELECT COUNT(*) FROM images").fetchone()[0]
        splits = [row[0] for row in self.database.execute("SELECT DISTINCT split FROM images ORDER BY split")]
        self.database.execute("COMMIT")
        self.database.close()
        return Plan(
            images, self.digest.hexdigest(), splits, self.images_per_text,
            dict(self.log.by_category), {name: dict(counts) for name, counts in self.log.excluded.items()},
        )  # fmt: skip


def build_plan(folder: Path, source: TableSource, limits: CaptionLimits, exclusions: Exclusions | None) -> Plan:
    """Read a source and write its plan; where the folder holds one already, that is returned.

    Args:
        folder: of the plan; it appears complete or not at all.
        source: whose rows are read.
        limits: which captions are kept.
        exclusions: training images that are kept out.

    Raises:
        PrepError, OSError: the source cannot be read.
    """
    if (folder / _PLAN).is_file():
        return Plan(**json.loads((folder / _PLAN).read_text(encoding="utf-8")))
    partial = private_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        scratch = partial / "scratch"
        scratch.mkdir()
        builder = _Builder(partial, source, limits, exclusions)
        builder.database.execute("BEGIN")
        with progress_bar(None, "read captions", "caption") as bar:
            for row in source.read(builder.log, scratch):
                builder.add(row)
                bar.update()
        plan = builder.finish()
        shutil.rmtree(scratch)
        (partial / _PLAN).write_text(json.dumps(asdict(plan)), encoding="utf-8")
        publish_folder(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return plan


def parts_of_split(folder: Path, split: str, part_images: int) -> list[int]:
    """Numbers of the parts, of so many images each, in which a split has images."""
    with closing(_open_plan(folder)) as database:
        query = "SELECT DISTINCT (id - 1) / ? FROM images WHERE split = ?"
        return [number for (number,) in database.execute(query, (part_images, split))]


def _open_plan(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(folder / _DATABASE).resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def planned_images(folder: Path, start: int, stop: int, log: RejectionLog) -> Iterator[PlannedImage]:
    """Images start .. stop - 1 of a plan, counted from 0, with their captions; those beyond MAX_CAPTIONS are logged."""
    with closing(_open_plan(folder)) as database:
        images = database.execute("SELECT * FROM images WHERE id > ? AND id <= ? ORDER BY id", (start, stop))
        for number, _, name, split, path, size, mtime_ns, source, position in images:
            rows = database.execute(
                "SELECT text, source, position, fields, more FROM texts WHERE image = ? ORDER BY rowid", (number,)
            )
            captions = (
                Text(
                    text, os.fsdecode(origin), line, json.loads(fields) if fields else None,
                    tuple(json.loads(more or "[]")),
                )
                for text, origin, line, fields, more in rows
            )  # fmt: skip
            texts = list(islice(captions, MAX_CAPTIONS))
            for text in captions:
                log.add(*TOO_MANY_CAPTIONS, text.source, text.position, name, text.text)
            file = ImageFile(os.fsdecode(path), size, mtime_ns)
            yield PlannedImage(number, name, split, file, texts, os.fsdecode(source), position)
