"""Reader of COCO's own caption files: ``captions_train2017.json`` and alike."""

import argparse
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..disk_table import open_database
from ..files import base_name
from ..records import RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option, split_and_path
from .image_ids import coco_id, flickr_id_of_url
from .image_layout import has_folder
from .json_stream import items, record_key
from .option_types import files_by_role

_FIX = "give a caption file such as captions_train2017.json"
_PHOTO_FOLDER = re.compile(r"(train|val|test)20\d\d", re.ASCII)
_COCO_HOST = re.compile(r"(?:.*\.)?(?:mscoco|cocodataset)\.org")
# Captions lie in the order of "annotations", rows are wanted in the order of "images": the file is sorted on disk.
_TABLES = """
CREATE TABLE images (position INTEGER PRIMARY KEY, id UNIQUE NOT NULL, name TEXT NOT NULL, ids TEXT NOT NULL);
CREATE TABLE captions (
  image INTEGER, position INTEGER, text TEXT NOT NULL, PRIMARY KEY (image, position)) WITHOUT ROWID;
"""
_JOIN = """
SELECT images.position, name, ids, captions.position, text FROM images LEFT JOIN captions ON image = images.position
ORDER BY images.position, captions.position
"""


def _ids(entry: dict[str, Any], name: str) -> list[str]:
    """COCO's number where the photo is COCO's (other sets use the format with numbers of their own), and Flickr's."""
    ids = [coco_id(name)]
    url = entry.get("coco_url")
    if ids == [None] and isinstance(url, str) and _COCO_HOST.fullmatch(_host(url)):
        ids = [f"coco:{entry['id']}"]
    url = entry.get("flickr_url")
    ids.append(flickr_id_of_url(url) if isinstance(url, str) else None)
    return [found for found in ids if found]


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _spool_images(database: sqlite3.Connection, path: str, log: RejectionLog) -> None:
    for position, entry in enumerate(items(path, "images.item", _FIX)):
        where = f"images[{position}]"
        key = record_key(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if key is None or not isinstance(name, str) or not name.strip():
            log.add("bad record", 'an image needs an "id" and a "file_name"', path, where)
            continue
        row = (position, key, name, json.dumps(_ids(entry, name)))
        if database.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?)", row).rowcount == 0:
            log.add("bad record", f"the image id {key!r} is there twice", path, where, name)


def _spool_captions(database: sqlite3.Connection, path: str, log: RejectionLog) -> None:
    for position, entry in enumerate(items(path, "annotations.item", _FIX)):
        where = f"annotations[{position}]"
        key = record_key(entry.get("image_id")) if isinstance(entry, dict) else None
        text = entry.get("caption") if isinstance(entry, dict) else None
        if key is None or not isinstance(text, str):
            log.add("bad record", 'an annotation needs an "image_id" and a "caption"', path, where)
            continue
        image = database.execute("SELECT position FROM images WHERE id = ?", (key,)).fetchone()
        if image is None:
            log.add("bad record", f'the list "images" has no usable image with id {key!r}', path, where, None, text)
        else:
            database.execute("INSERT INTO captions VALUES (?, ?, ?)", (image[0], position, text))


def read_coco(files: list[tuple[str, str]], folders: dict[str, str], log: RejectionLog, scratch: Path) -> Iterator[Row]:
    """Rows in the order of each file's list "images"; the captions of an image in the order of "annotations".

    Args:
        files: (split, caption file).
        folders: folder of the images of a file, where they do not lie in the images folder itself.
        log: takes images and annotations that cannot be used.
        scratch: folder in which each file is sorted.

    Raises:
        PrepError: a file is not JSON or lacks one of the lists.
        OSError: a file cannot be read.
    """
    for split, path in files:
        spool = scratch / "coco.sqlite"
        spool.unlink(missing_ok=True)
        folder = folders.get(path)
        with closing(open_database(spool)) as database:
            database.executescript(_TABLES)
            database.execute("BEGIN")
            _spool_images(database, path, log)
            _spool_captions(database, path, log)
            database.execute("COMMIT")
            for position, name, ids, annotation, text in database.execute(_JOIN):
                image = f"{folder}/{name}" if folder else name
                if text is None:
                    log.add("no caption", "no annotation belongs to the image", path, f"images[{position}]", image)
                else:
                    yield Row((image,), split, text, path, f"annotations[{annotation}]", ids=tuple(json.loads(ids)))
        spool.unlink()


def _photo_folder(images: str, path: str) -> str | None:
    """``train2017`` for captions_train2017.json where the images folder has such a folder, else None."""
    match = _PHOTO_FOLDER.search(base_name(path))
    return match[0] if match and has_folder(images, match[0]) else None


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help="caption file of COCO, or in its format; give it again for a further split: "
        "--json captions_train2017.json --json valid=captions_val2017.json (default split: train)",
    )  # fmt: skip
    add_images_option(
        parser,
        "folder (or URL) of the photos, or the one that holds train2017 and val2017: a folder that is named in the "
        "name of the JSON file (captions_train2017.json) is looked into",
    )


def _build(args: argparse.Namespace) -> TableSource:
    folders = {path: _photo_folder(args.images, path) for _, path in args.json}
    found = {path: folder for path, folder in folders.items() if folder}
    return TableSource(
        kind="coco",
        images=args.images,
        files=files_by_role("json", [path for _, path in args.json]),
        read=partial(read_coco, args.json, found),
        options={"splits": [split for split, _ in args.json], "folders": [found.get(path) for _, path in args.json]},
    )


COMMAND = SourceCommand(
    name="coco",
    summary="Prepare COCO, or a set in its format, from its official caption files.",
    example="mvlm-prep coco --json captions_train2017.json --json valid=captions_val2017.json "
    "--images coco --dest data-bin/coco",
    add_options=_add_options,
    build=_build,
)
