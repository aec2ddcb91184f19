"""Reader of Visual Genome: each region's description is a caption of the whole photo."""

import argparse
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ..disk_table import DiskTable
from ..records import RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option
from .json_stream import items, record_key
from .option_types import positive
from .splits import add_subset_option, subset_of

_REGIONS_FIX = "give Visual Genome's region_descriptions.json"
_IMAGES_FIX = "give Visual Genome's image_data.json"


def _image_key(entry: Any) -> int | str | None:
    """Releases call it "image_id" or "id"."""
    if not isinstance(entry, dict):
        return None
    return record_key(entry.get("image_id", entry.get("id")))


def _image_data(path: str, log: RejectionLog) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """Key of each photo; its file name, ``VG_100K_2/1.jpg``, and the numbers it has at COCO and Flickr."""
    for position, entry in enumerate(items(path, "item", _IMAGES_FIX)):
        key = _image_key(entry)
        url = entry.get("url") if isinstance(entry, dict) else None
        parts = url.split("/")[-2:] if isinstance(url, str) else []
        if key is None or len(parts) < 2 or not all(parts):
            log.add("bad record", 'image data needs an "image_id" and a "url"', path, position)
            continue
        numbers = (("coco", record_key(entry.get("coco_id"))), ("flickr", record_key(entry.get("flickr_id"))))
        ids = [f"{kind}:{number}" for kind, number in numbers if number is not None]
        yield key, {"name": "/".join(parts), "ids": ids}


def read_visual_genome(
    regions: str, image_data: str, subset: str, max_regions: int | None, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows in the order of the regions file.

    Args:
        regions: ``region_descriptions.json``.
        image_data: ``image_data.json``, which has the photos' file names.
        subset: split of every photo.
        max_regions: take that many regions of a photo, the first ones; None takes all.
        log: takes what cannot be used.
        scratch: folder for the table of photos.

    Raises:
        PrepError: a file is not JSON or not a list.
        OSError: a file cannot be read.
    """
    with closing(DiskTable(scratch / "image_data.sqlite")) as photos:
        photos.fill(_image_data(image_data, log))
        for position, entry in enumerate(items(regions, "item", _REGIONS_FIX)):
            key = _image_key(entry)
            listed = entry.get("regions") if isinstance(entry, dict) else None
            if key is None or not isinstance(listed, list):
                log.add("bad record", 'the entry needs an "id" and a list "regions"', regions, position)
                continue
            photo = photos.get(key)
            if photo is None:
                reason = f"{image_data} has no usable entry for image {key!r}; its regions: {len(listed)}"
                log.add("no image data", reason, regions, position)
                continue
            if not listed:
                log.add("no caption", "the image has no regions", regions, position, photo["name"])
            for region in listed[:max_regions]:
                phrase = region.get("phrase") if isinstance(region, dict) else None
                if isinstance(phrase, str):
                    yield Row((photo["name"],), subset, phrase, regions, position, ids=tuple(photo["ids"]))
                else:
                    log.add("bad record", 'a region has no text "phrase"', regions, position, photo["name"])


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--regions", required=True, metavar="FILE", help="region_descriptions.json")
    parser.add_argument(
        "--image-data", required=True, metavar="FILE",
        help="image_data.json: names the photos' files, and tells which are COCO's",
    )  # fmt: skip
    add_images_option(parser, "folder (or URL) that holds VG_100K and VG_100K_2")
    add_subset_option(parser)
    parser.add_argument(
        "--max-regions", type=positive, metavar="N",
        help="captions of a photo at most, the first N of its regions (default: all, about 50)",
    )  # fmt: skip


def _build(args: argparse.Namespace) -> TableSource:
    subset = subset_of(args)
    return TableSource(
        kind="visual-genome",
        images=args.images,
        files={"regions": args.regions, "image data": args.image_data},
        read=partial(read_visual_genome, args.regions, args.image_data, subset, args.max_regions),
        options={"subset": subset, "max_regions": args.max_regions},
    )


COMMAND = SourceCommand(
    name="visual-genome",
    summary="Prepare Visual Genome's region descriptions as captions of their photos.",
    example="mvlm-prep visual-genome --regions region_descriptions.json --image-data image_data.json "
    "--images visual-genome --dest data-bin/visual-genome",
    add_options=_add_options,
    build=_build,
)
