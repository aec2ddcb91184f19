"""Reads a whole data-bin again and names everything that is wrong with it."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import DICTIONARY, MANIFEST, REJECTED, DataBinError, read_manifest
from mvlm_plugin.data.fingerprint import fingerprint_of
from mvlm_plugin.data.images import DEFAULT_MAX_PIXELS
from mvlm_plugin.data.tokenizers import load_tokenizer

from ..files import sha256_of
from ..options import add_workers_option
from ..parallel import progress_bar
from ..records import PrepError
from ..tools import Tool
from .split_check import image_problems, pair_problems, text_problems


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("databin", type=Path, metavar="DATABIN", help="folder that mvlm-prep wrote")
    add_workers_option(parser)


def _run(args: argparse.Namespace) -> int:
    if not args.databin.is_dir():
        raise PrepError(f"{args.databin} is not a folder; give a folder that mvlm-prep wrote")
    problems = verify_databin(args.databin, args.workers)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{args.databin}: {len(problems):,} problems; prepare it again")
        return 1
    for split, entry in read_manifest(args.databin)["splits"].items():
        print(f"  {split}: {entry['images']:,} images, {entry['captions']:,} captions")
    print(f"{args.databin} is sound")
    return 0


TOOL = Tool(
    "verify", "Read a whole data-bin again and print every problem; exit status 1 if there is any.",
    "mvlm-prep verify data/scenes", _add_options, _run,
)  # fmt: skip


def verify_databin(folder: Path, workers: int) -> list[str]:
    """Check manifest, file hashes, tokenizer, and every image, caption and pair; of all its shards, if it has any.

    Args:
        folder: the data-bin.
        workers: processes that decode images.

    Returns:
        One line a problem, naming file, split or image; empty for a sound data-bin.
    """
    try:
        manifest = read_manifest(folder)
    except DataBinError as error:
        return [str(error)]
    if "shards" not in manifest:
        return _verify_one(folder, manifest, workers)
    shards = manifest["shards"]
    if not isinstance(shards, list) or not all(isinstance(name, str) and name == Path(name).name for name in shards):
        return [f"{MANIFEST}: the list of shards is damaged"]
    return [f"{name}/ {problem}" for name in shards for problem in verify_databin(folder / name, workers)]


def _verify_one(folder: Path, manifest: dict[str, Any], workers: int) -> list[str]:
    problems = list(_manifest_problems(manifest))
    if problems:
        return problems
    problems.extend(_file_problems(folder, manifest["files"]))
    if manifest.get("fingerprint", expected := fingerprint_of(manifest)) != expected:
        problems.append(f"{MANIFEST}: the fingerprint is not that of the files which it lists")
    dictionary = None
    try:
        dictionary = load_tokenizer(folder).dictionary
        if len(dictionary) != manifest["tokenizer"]["vocab_size"]:
            recorded = manifest["tokenizer"]["vocab_size"]
            problems.append(f"{DICTIONARY}: {len(dictionary)} entries, the manifest says {recorded}")
    except DataBinError as error:
        problems.append(f"tokenizer: {error}")
    max_pixels = manifest.get("request", {}).get("images", {}).get("max_pixels", DEFAULT_MAX_PIXELS)
    for split, entry in manifest["splits"].items():
        problems.extend(image_problems(folder, split, manifest, max_pixels, workers))
        problems.extend(pair_problems(folder, split, entry))
        if dictionary is not None:
            problems.extend(text_problems(folder, split, entry, dictionary))
    return problems


def _manifest_problems(manifest: dict[str, Any]) -> Iterator[str]:
    """Missing or mistyped entries, and files of a split that the manifest does not list."""
    shape: dict[str, dict[str, type]] = {
        "files": {"bytes": int, "sha256": str},
        "splits": {"images": int, "captions": int, "tokens": int},
    }
    for key, fields in shape.items():
        entries = manifest.get(key)
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            yield f"{MANIFEST}: {key!r} is missing or damaged"
            return
        for name, entry in entries.items():
            if not all(isinstance(entry.get(field), kind) for field, kind in fields.items()):
                yield f"{MANIFEST}: the entry {name!r} of {key!r} is damaged"
    tokenizer = manifest.get("tokenizer")
    if not isinstance(tokenizer, dict) or not {"kind", "vocab_size"} <= set(tokenizer):
        yield f"{MANIFEST}: 'tokenizer' is missing or damaged"
    expected = {DICTIONARY, REJECTED}
    for split, entry in manifest["splits"].items():
        kinds = ["text.bin", "text.idx", "images.idx", "pairs.npy", "hashes.npy", "names.bin", "names.idx"]
        expected |= {
            f"{split}.{kind}" for kind in kinds + (["fields.bin", "fields.idx"] if entry.get("fields") else [])
        }
    for name in sorted(expected - set(manifest["files"])):
        yield f"{MANIFEST}: the file {name} is not listed"


def _file_problems(folder: Path, files: dict[str, dict[str, Any]]) -> Iterator[str]:
    with progress_bar(len(files), "verify files", "file") as bar:
        for name, entry in files.items():
            path = folder / name
            if name != path.name or not path.is_file():
                yield f"{name}: the file is missing"
            elif path.stat().st_size != entry["bytes"]:
                yield f"{name}: {path.stat().st_size} bytes, the manifest says {entry['bytes']}"
            elif sha256_of(str(path)) != entry["sha256"]:
                yield f"{name}: its SHA-256 differs from the manifest, the file was changed"
            bar.update()
