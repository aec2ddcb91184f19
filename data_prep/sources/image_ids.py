"""Identifiers that evaluation sets give a photo (``coco:391895``, ``flickr:1000092795``), from its name or address."""

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

# COCO_train2014_000000391895, and 000000391895 as the releases since 2017 name it.
_COCO_STEM = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?(\d{12})", re.ASCII)
# 2970773875_164f0c0b83, 2970773875_164f0c0b83_z: number, secret, size.
_FLICKR_STEM = re.compile(r"\d{1,18}_[0-9a-f]{8,}(?:_[a-z0-9]{1,2})?", re.ASCII)
_LEADING_DIGITS = re.compile(r"(\d{1,18})(?:_|$)", re.ASCII)
_FLICKR_HOST = re.compile(r"(?:.*\.)?(?:static)?flickr\.com")


def coco_id(name: str) -> str | None:
    """``coco:N`` where a file name is one of COCO's, else None."""
    match = _COCO_STEM.fullmatch(PurePosixPath(name).stem)
    return f"coco:{int(match[1])}" if match else None


def flickr_id(name: str) -> str | None:
    """``flickr:N`` from the file name of an image that is known to be from Flickr; None where it has no number."""
    match = _LEADING_DIGITS.match(PurePosixPath(name).stem)
    return f"flickr:{int(match[1])}" if match else None


def flickr_id_of_url(url: str) -> str | None:
    """``flickr:N`` of an address of a photo on Flickr's servers, else None."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if host is None or not _FLICKR_HOST.fullmatch(host):
        return None
    return flickr_id(parts.path)


def ids_of_name(name: str) -> tuple[str, ...]:
    """What a file name of unknown origin tells: names that only COCO or Flickr give."""
    found = coco_id(name)
    if found is None and _FLICKR_STEM.fullmatch(PurePosixPath(name).stem):
        found = flickr_id(name)
    return (found,) if found else ()


def all_ids_of_name(name: str) -> tuple[str, ...]:
    """As ids_of_name, and ``name:`` with the file name without folders and extension."""
    return (f"name:{PurePosixPath(name).stem}", *ids_of_name(name))
