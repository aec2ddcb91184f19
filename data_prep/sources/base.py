"""What a source is: a command with options of its own, and a reader that gives rows or samples."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import canonical_split, is_split_name

from ..records import PrepError, RejectionLog, Row, Sample


@dataclass(frozen=True)
class TableSource:
    """Rows that name image files.

    Attributes:
        kind: name of the source, for the manifest.
        images: folder or URL that the image names are relative to.
        files: what is read, path or URL by role; their hashes tell whether the source changed.
        read: gives the rows in order; called with a log for what is dropped and a folder for scratch files.
        options: further options that decide the outcome.
        position_name: what a row's position is: "line" or "record".
    """

    kind: str
    images: str
    files: dict[str, str]
    read: Callable[[RejectionLog, Path], Iterator[Row]]
    options: dict[str, Any] = field(default_factory=dict)
    position_name: str = "record"


@dataclass(frozen=True)
class ArchiveSource:
    """Archives that hold images and captions together; each is a unit of work.

    Attributes:
        kind: name of the source, for the manifest.
        archives: (split, path or URL) in order.
        read: gives the samples of an archive in order: ``read(path, split, log)``; called in worker processes.
        options: further options that decide the outcome.
        can_reference: whether samples have offsets, so that the archives need not be copied.
        on_disk: whether the archives are files or URLs, whose change shows; otherwise their names say it all.
    """

    kind: str
    archives: list[tuple[str, str]]
    read: Callable[[str, str, RejectionLog], Iterator[Sample]]
    options: dict[str, Any] = field(default_factory=dict)
    can_reference: bool = True
    on_disk: bool = True
    position_name: str = "member"


Source = TableSource | ArchiveSource


@dataclass(frozen=True)
class SourceCommand:
    """A subcommand of mvlm-prep that prepares one kind of source.

    Attributes:
        name: of the subcommand.
        summary: one sentence.
        example: a command line that a user can paste.
        add_options: adds the source's own options to the subcommand's parser.
        build: parsed options -> source. Raises PrepError.
    """

    name: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    build: Callable[[argparse.Namespace], Source]


def split_and_path(text: str) -> tuple[str, str]:
    """Type of ``[SPLIT=]PATH`` options: ``valid=captions_val2017.json``; without a split it is ``train``.

    Returns:
        The split as it is stored, and the path.
    """
    split, separator, path = text.partition("=")
    if not separator or not is_split_name(split):
        return "train", text
    if not path:
        raise argparse.ArgumentTypeError(f"{text!r} names a split but no path")
    return canonical_split(split), path


def add_images_option(parser: argparse.ArgumentParser, help_text: str | None = None) -> None:
    """Add --images."""
    parser.add_argument(
        "--images", required=True, metavar="DIR",
        help=help_text
        or "folder (or URL) that the image paths are relative to; for images/x.jpg also the folder images itself",
    )  # fmt: skip


def checked_split(name: str, option: str) -> str:
    """The stored name of a split that an option gives.

    Raises:
        PrepError: the name cannot be part of a file name.
    """
    split = canonical_split(name)
    if not is_split_name(split):
        raise PrepError(f"{option} {name!r}: only letters, digits, _ and - may be used, up to 64")
    return split
