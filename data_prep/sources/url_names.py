"""File names of images that a data set gives as addresses: what the program that downloaded them called them."""

import argparse
import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

_EXTENSION = re.compile(r"(\.[A-Za-z0-9]+)?")
_WAYS = ("row", "url-basename", "url-md5", "url-sha1")
_URL = re.compile(r"https?://\S+", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether a text is a web address and nothing else."""
    return _URL.fullmatch(text) is not None


@dataclass(frozen=True)
class UrlNames:
    """How the file of an image is called.

    Attributes:
        by: "row", "url-basename", "url-md5" or "url-sha1".
        extension: added to row numbers and hashes.
        digits: row numbers are filled up to that many with zeros.
    """

    by: str
    extension: str
    digits: int

    def name(self, url: str, row: int) -> str | None:
        """The file name, None where the address has no last part or is no address; row counts from 0."""
        if self.by == "row":
            return f"{row:0{self.digits}d}{self.extension}"
        if self.by == "url-basename":
            try:
                return urlsplit(url).path.rpartition("/")[2] or None
            except ValueError:
                return None
        hash_of = hashlib.md5 if self.by == "url-md5" else hashlib.sha1
        return hash_of(url.encode(), usedforsecurity=False).hexdigest() + self.extension

    def options(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def _extension(text: str) -> str:
    if not _EXTENSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a dot and letters or digits, such as .jpg, or empty")
    return text


def _digits(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 2 or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 20")
    return int(text)


def add_url_name_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --name-by, --extension and --digits."""
    group = parser.add_argument_group("names of the downloaded files")
    group.add_argument(
        "--name-by", choices=_WAYS, default=default,
        help="row: number of the line or record, from 0 (00000012.jpg); url-basename: last part of the address; "
        f"url-md5, url-sha1: hexadecimal hash of the address (default: {default})",
    )  # fmt: skip
    group.add_argument(
        "--extension", type=_extension, default=".jpg", metavar=".EXT",
        help="follows row numbers and hashes; '' for none (default: .jpg)",
    )  # fmt: skip
    group.add_argument(
        "--digits", type=_digits, default=8, metavar="N", help="zeros fill row numbers up to N digits (default: 8)"
    )


def url_names_of(args: argparse.Namespace) -> UrlNames:
    """What the options say."""
    return UrlNames(args.name_by, args.extension, args.digits)
