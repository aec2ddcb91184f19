"""What ``--exclude`` may name: Karpathy JSON files, lists of ids, data-bins; parsed, and read piece by piece."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from mvlm_plugin.data.byte_file import map_array
from mvlm_plugin.data.databin import HASH, DataBinError, canonical_split, hashes_path, read_manifest, shard_folders

from .files import base_name, is_remote, open_binary
from .records import PrepError
from .sources.image_ids import coco_id, flickr_id, ids_of_name
from .sources.json_stream import items, record_key
from .sources.text_lines import BYTE_ORDER_MARK

_SPLITS = re.compile(r"[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*")
_EVALUATION_SPLITS = ("valid", "test")
_EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"}
_COMMENT = re.compile(r"(^|\s)#.*")
_PREFIXED = re.compile(r"(name|coco|flickr):\s*(\S.*)")
_MAX_LINE = 1 << 16
_FIX = (
    "give a Karpathy JSON, a text file with an image id or file name a line, or a data-bin; "
    "PATH:SPLIT,SPLIT chooses splits of a JSON or data-bin"
)

Kind = Literal["karpathy", "ids", "databin"]


class Spec(NamedTuple):
    """A parsed --exclude: its name in the manifest, where it lies, what it is, and the splits asked for."""

    name: str
    path: str
    kind: Kind
    splits: tuple[str, ...] | None


def parse_specs(texts: Sequence[str]) -> list[Spec]:
    """Parse the values of --exclude; names are base names, made unique.

    Raises:
        PrepError: a file cannot be read, or is of no usable kind.
    """
    specs: list[Spec] = []
    for text in texts:
        path, splits = _path_and_splits(text)
        kind = _kind_of(path)
        if kind == "ids" and splits:
            raise PrepError(f"--exclude {text}: a list of ids has no splits; leave out :{','.join(splits)}")
        base = name = base_name(text)
        number = 1
        while name in {spec.name for spec in specs}:
            number += 1
            name = f"{base} ({number})"
        specs.append(Spec(name, path, kind, splits))
    return specs


def _path_and_splits(text: str) -> tuple[str, tuple[str, ...] | None]:
    """The parts of ``PATH[:SPLIT,SPLIT]``; a path that exists as it is has no splits."""
    path, _, splits = text.rpartition(":")
    if not path or not _SPLITS.fullmatch(splits) or (not is_remote(text) and Path(text).exists()):
        return text, None
    return path, tuple(canonical_split(split) for split in splits.split(","))


def _kind_of(path: str) -> Kind:
    if not is_remote(path) and Path(path).is_dir():
        return "databin"
    try:
        with open_binary(path) as file:
            start = file.read(4096).removeprefix(BYTE_ORDER_MARK).lstrip()
    except OSError as error:
        raise PrepError(f"--exclude {path}: {error.strerror or error}; {_FIX}") from error
    if start.startswith(b"["):
        raise PrepError(f"--exclude {path} is JSON, but no Karpathy JSON; {_FIX}")
    return "karpathy" if start.startswith(b"{") else "ids"


def databin_hash_files(spec: Spec) -> list[Path]:
    """Hash tables of the splits that a spec means: those asked for, or valid and test, or all if there is neither.

    Raises:
        PrepError: a split that is asked for is not there.
        DataBinError: the folder is no data-bin.
    """
    folders = shard_folders(Path(spec.path))
    found = [(split, folder) for folder in folders for split in sorted(read_manifest(folder)["splits"])]
    known = sorted({split for split, _ in found})
    chosen = spec.splits or [split for split in known if split.startswith(_EVALUATION_SPLITS)] or known
    missing = [split for split in chosen if split not in known]
    if missing or not chosen:
        absent = f"split {', '.join(missing)}" if missing else "splits"
        raise PrepError(f"--exclude {spec.path} has no {absent}; it has: {', '.join(known) or 'none'}")
    return [hashes_path(folder, split) for split, folder in found if split in chosen]


def databin_hashes(spec: Spec) -> Iterator[np.ndarray]:
    """The hash tables of a data-bin, mapped.

    Raises:
        PrepError, DataBinError: see databin_hash_files(); or a table is damaged.
    """
    for path in databin_hash_files(spec):
        try:
            hashes = map_array(path)
        except DataBinError as error:
            raise PrepError(f"--exclude: {error}; prepare that data-bin again") from error
        if hashes.dtype != HASH or hashes.ndim != 1:
            raise PrepError(f"--exclude {path} is damaged: its type is {hashes.dtype}; prepare that data-bin again")
        yield hashes


def spec_ids(spec: Spec) -> Iterator[str]:
    """Ids that a Karpathy JSON or a list names, as in Row.ids, and ``name:`` ids.

    Raises:
        PrepError: the file is unusable, or names nothing.
    """
    return _karpathy_ids(spec) if spec.kind == "karpathy" else _listed_ids(spec)


def _karpathy_ids(spec: Spec) -> Iterator[str]:
    wanted = spec.splits or _EVALUATION_SPLITS
    seen: set[str] = set()
    for position, entry in enumerate(items(spec.path, "images.item", _FIX)):
        split = entry.get("split") if isinstance(entry, dict) else None
        if not isinstance(split, str) or not isinstance(entry.get("filename"), str):
            raise PrepError(
                f"--exclude {spec.path}: image {position} has no filename or split, so it cannot be excluded; mend it"
            )
        seen.add(canonical_split(split))
        if canonical_split(split) in wanted:
            yield from _entry_ids(entry)
    missing = sorted(set(wanted) - seen) if spec.splits or not seen & set(wanted) else []
    if missing:
        known = ", ".join(sorted(seen))
        raise PrepError(f"--exclude {spec.path} has no images of split {', '.join(missing)}; it has: {known}")


def _entry_ids(entry: dict[str, Any]) -> Iterator[str]:
    name = entry["filename"]
    yield f"name:{PurePosixPath(name).stem}"
    number = record_key(entry.get("cocoid"))
    found = f"coco:{number}" if number is not None else coco_id(name) or flickr_id(name)
    if found:
        yield found


def _listed_ids(spec: Spec) -> Iterator[str]:
    number = 0
    empty = True
    with open_binary(spec.path) as file:
        while raw := file.readline(_MAX_LINE):
            number += 1
            raw = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
            try:
                line = _COMMENT.sub("", raw.decode("utf-8")).strip()
            except UnicodeDecodeError as error:
                raise PrepError(f"--exclude {spec.path}, line {number} is not UTF-8 text; {_FIX}") from error
            if "\t" in line or "\0" in line or len(raw) == _MAX_LINE:
                raise PrepError(f"--exclude {spec.path}, line {number}: write one id or file name a line, nothing else")
            if line:
                empty = False
                yield from ids_of_line(line)
    if empty:
        raise PrepError(f"--exclude {spec.path} lists no ids; {_FIX}")


def ids_of_line(line: str) -> list[str]:
    """What a line of an id list may mean.

    ``folder/X.jpg`` is a file name and, where only COCO or Flickr name files so, their id; a bare number is any of
    a file name, a COCO id or a Flickr id (Visual Genome's files are named by their ids); ``coco:X``, ``flickr:X``
    and ``name:X`` mean just that.
    """
    prefixed = _PREFIXED.fullmatch(line)
    if prefixed:
        kind, value = prefixed.groups()
        return [f"{kind}:{int(value) if kind != 'name' and _is_number(value) else value}"]
    path = PurePosixPath(line)
    if _is_number(path.stem):
        return [f"name:{path.stem}", f"coco:{int(path.stem)}", f"flickr:{int(path.stem)}"]
    # A dot in an id without an extension is part of it.
    names = [path.stem] if path.suffix.lower() in _EXTENSIONS else [path.stem, path.name]
    return [*(f"name:{name}" for name in dict.fromkeys(names)), *ids_of_name(line)]


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,19}", text) is not None
