"""Where the images of a set lie in the images folder: the official layout, or a pattern that the user gives."""

import argparse
import os

import fsspec

from ..files import is_remote
from ..records import PrepError


def has_folder(images: str, folder: str) -> bool:
    """Whether the images folder, a local one or an URL, has a folder of that name."""
    path = f"{images.rstrip('/')}/{folder}"
    if is_remote(path):
        system, inner = fsspec.core.url_to_fs(path)
        return bool(system.isdir(inner))
    return os.path.isdir(path)


def add_image_name_option(parser: argparse.ArgumentParser, official: str) -> None:
    """Add --image-name, a pattern that takes the place of the official layout."""
    parser.add_argument(
        "--image-name", metavar="PATTERN", help=f"where an image lies in the images folder (default: {official})"
    )


def check_image_name(pattern: str | None, example: dict[str, int | str]) -> None:
    """Check that a pattern of --image-name can be filled in.

    Args:
        pattern: a str.format pattern, or None.
        example: a value of every name that it may use.

    Raises:
        PrepError: it uses another name, or has a mistake.
    """
    try:
        if pattern is not None:
            pattern.format(**example)
    except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
        names = ", ".join(f"{{{name}}}" for name in example)
        raise PrepError(f"--image-name {pattern!r} cannot be filled in ({error!r}): it may use {names}") from error
