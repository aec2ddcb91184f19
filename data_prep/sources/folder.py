"""Reader of folders of images that have their captions beside them: dog.jpg and dog.txt."""

import argparse
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import fsspec

from ..files import is_remote, open_binary
from ..records import PrepError, RejectionLog, Row
from .base import SourceCommand, TableSource, split_and_path
from .splits import usable_split
from .text_lines import BYTE_ORDER_MARK, is_unicode

_IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_TEXT_ENDING = ".txt"
_MAX_TEXT = 1 << 20


class _Listing(NamedTuple):
    """Sorted names in a folder."""

    folders: list[str]
    files: list[str]


def _list_local(path: str) -> _Listing:
    found = _Listing([], [])
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link that leads to itself
                is_folder = is_file = False
            if is_folder:
                found.folders.append(entry.name)
            elif is_file or not os.path.exists(entry.path):  # a dangling link is reported when it is opened
                found.files.append(entry.name)
    return found


def _list_remote(path: str) -> _Listing:
    system, inner = fsspec.core.url_to_fs(path)
    found = _Listing([], [])
    own = inner.rstrip("/")
    for entry in system.ls(inner, detail=True):
        place = entry["name"].rstrip("/")
        if place != own:  # some stores list the folder itself
            (found.folders if entry["type"] == "directory" else found.files).append(place.rpartition("/")[2])
    system.invalidate_cache(inner)  # drivers keep every listing in memory
    return found


def _listing(path: str, log: RejectionLog) -> _Listing:
    """What a folder holds, sorted; names that are no Unicode are logged."""
    found = _list_remote(path) if is_remote(path) else _list_local(path)
    usable = _Listing([], [])
    for names, kept in zip(found, usable, strict=True):
        for name in sorted(names):
            if is_unicode(name):
                kept.append(name)
            else:
                log.add("bad file name", "the name is not UTF-8", path, name.encode("utf-8", "replace").decode())
    return usable


def _walk(root: str, log: RejectionLog) -> Iterator[tuple[str, list[str]]]:
    """Each folder from root on, relative to it ("" or "a/b/"), with its files; a folder's own files come first."""
    pending: list[tuple[str, tuple[str, ...]]] = [("", ())]
    while pending:
        inner, above = pending.pop()
        path = f"{root}/{inner}".rstrip("/")
        real = path if is_remote(path) else os.path.realpath(path)
        if real in above:
            log.add("symbolic link", "the folder is one that it lies in", root, inner)
            continue
        try:
            found = _listing(path, log)
        except OSError as error:
            if not inner or is_remote(path):
                raise
            log.add("unreadable folder", error.strerror or str(error), root, inner)
            continue
        yield inner, found.files
        pending.extend((f"{inner}{name}/", (*above, real)) for name in reversed(found.folders))


def _is_within(path: str, root: str) -> bool:
    real = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(path), real]) == real


def _captions(path: str, root: str, log: RejectionLog, image: str) -> list[tuple[int, str]]:
    """Line number and text of each line that is not blank; logged where there is none."""
    if not is_remote(path) and os.path.islink(path) and not _is_within(path, root):
        log.add("outside images folder", "the caption file is a symbolic link that leads outside", path, 1, image)
        return []
    try:
        with open_binary(path) as file:
            data = file.read(_MAX_TEXT + 1)
    except OSError as error:
        if is_remote(path):
            raise
        log.add("bad caption file", error.strerror or str(error), path, 1, image)
        return []
    if len(data) > _MAX_TEXT:
        log.add("bad caption file", f"larger than {_MAX_TEXT >> 20} MiB", path, 1, image)
        return []
    try:
        text = data.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        log.add("bad caption file", f"not UTF-8: {error.reason} at byte {error.start}", path, 1, image)
        return []
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        log.add("no caption", "the caption file is empty", path, 1, image)
    return lines


def _pairs(root: str, log: RejectionLog) -> Iterator[tuple[str, str]]:
    """Image and caption file, relative to root; what has no partner is logged."""
    for inner, files in _walk(root, log):
        images = [name for name in files if PurePosixPath(name).suffix.lower() in _IMAGE_ENDINGS]
        texts = {name for name in files if PurePosixPath(name).suffix == _TEXT_ENDING}
        used = set()
        for name in images:
            text = PurePosixPath(name).stem + _TEXT_ENDING
            used.add(text)
            if text in texts:
                yield inner + name, inner + text
            else:
                log.add("no caption", f"there is no {text} beside the image", root, inner + name, inner + name)
        for text in sorted(texts - used):
            log.add("no image", "there is no image of this name beside the captions", root, inner + text)


def _named_split(name: str, root: str, log: RejectionLog) -> str | None:
    """The split that the first folder of a path names; logged where there is none."""
    first, separator, _ = name.partition("/")
    if not separator:
        log.add("no split", "the image lies in no folder that could name its split", root, name, name)
        return None
    split, problem = usable_split(first)
    if split is None:
        log.add("bad split name", problem, root, name, name)
    return split


def read_folder(
    folders: list[tuple[str, str, str]], split_by_folder: bool, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows of every image that has captions beside it; a folder's own images first, each sorted by name.

    Args:
        folders: (split, folder, what precedes its images' names).
        split_by_folder: the first folder of an image's path is its split.
        log: takes images without captions, captions without image, and names that are no split.
        scratch: not used.

    Raises:
        PrepError: a store refuses.
        OSError: a folder that was given, or something in a store, cannot be read.
    """
    for given, root, prefix in folders:
        for name, captions in _pairs(root, log):
            split = _named_split(name, root, log) if split_by_folder else given
            if split is not None:
                source, image = f"{root}/{captions}", prefix + name
                for line, text in _captions(source, root, log, image):
                    yield Row((image,), split, text, source, line)


def _common_root(paths: list[str]) -> str:
    """Folder or URL that all lie in.

    Raises:
        PrepError: there is none.
    """
    if len(paths) == 1:
        return paths[0]
    if not any(is_remote(path) for path in paths):
        return os.path.commonpath(paths)
    parts: list[str] = []
    for level in zip(*(path.split("/") for path in paths), strict=False):
        if len(set(level)) > 1:
            break
        parts.append(level[0])
    if len(parts) < 3:  # "s3:", "", "bucket"
        raise PrepError("the folders of --images lie in different stores: prepare them one after the other")
    return "/".join(parts)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=split_and_path, action="append", required=True, metavar="[SPLIT=]DIR",
        help="folder (or URL) with images and, beside each, a .txt file of the same name with a caption a line; "
        "folders in it are searched too; again for a further split: --images data/train --images valid=data/val "
        "(default split: train)",
    )  # fmt: skip
    parser.add_argument(
        "--split-by-folder", action="store_true",
        help="DIR/train/..., DIR/val/...: the folders right below DIR name the splits; then no SPLIT= is given",
    )  # fmt: skip


def _build(args: argparse.Namespace) -> TableSource:
    if args.split_by_folder and any(split != "train" for split, _ in args.images):
        raise PrepError("--split-by-folder tells the splits: leave SPLIT= out of --images")
    paths = [path.rstrip("/") if is_remote(path) else os.path.abspath(path) for _, path in args.images]
    root = _common_root(paths)
    prefixes = [path.removeprefix(root).strip("/") for path in paths]
    folders = [
        (split, path, f"{prefix}/" if prefix else "")
        for (split, _), path, prefix in zip(args.images, paths, prefixes, strict=True)
    ]
    return TableSource(
        kind="folder",
        images=root,
        files={},
        read=partial(read_folder, folders, args.split_by_folder),
        options={"folders": [[split, prefix] for split, _, prefix in folders], "split_by_folder": args.split_by_folder},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="folder",
    summary="Prepare a folder of images with captions in text files beside them: dog.jpg and dog.txt.",
    example="mvlm-prep folder --images my-photos --split-by-folder --dest data-bin/my-photos",
    add_options=_add_options,
    build=_build,
)
