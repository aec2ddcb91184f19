"""Names and manifest of a data-bin, format 2: the folder that preparation writes and training reads.

A data-bin holds, for every split (``train``, ``valid``, ``test``, ...)::

    SPLIT.text.{bin,idx}     token file (token_file.py), fairseq's mmap format; entry c is caption c: tokens and </s>
    SPLIT.pairs.npy          int64, (captions,) caption -> image, or (captions, K) where every text has K images;
                             several captions may share an image
    SPLIT.images.idx         image index (image_index.py): where the encoded bytes of every image lie
    SPLIT.images*.bin        encoded images, one after the other (image store "packed" only)
    SPLIT.hashes.npy         (images,) of type HASH
    SPLIT.names.{bin,idx}    line file (line_file.py): name of each image in its source
    SPLIT.fields.{bin,idx}   line file, only where the source has label fields: a JSON object for each caption

and once ``manifest.json``, ``dict.txt``, the tokenizer's own files and ``rejected.jsonl``. Keys of the manifest::

    format_version           2
    image_store              "packed": images were copied into SPLIT.images*.bin; "reference": they stay in their files
    image_root               absolute folder of those files ("reference" only)
    tokenizer                kind and settings
    splits.SPLIT             images, captions, tokens, unknown_tokens, image_modes, image_bytes, images_per_text,
                             fields: {name: {"type": "integer" | "number" | "string" | "list", "missing": count}}
    rejected, excluded, duplicates   counts of what was left out
    request, source          the options and the source that it was made from
    made_with                versions of program, Python and packages, git revision (environment.py)
    files                    {name: {"bytes", "sha256"}}
    fingerprint              of the data (fingerprint.py)

A sharded data-bin is a folder of whole data-bins, ``shard0``, ``shard1``, ...; its manifest has ``format_version`` and
``shards``, the names of those folders. Splits other than train lie in the first.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
DICTIONARY = "dict.txt"
REJECTED = "rejected.jsonl"
# content: first 128 bits of the SHA-256 of the encoded bytes as the source has them; perceptual: 64-bit hash of the
# decoded image, near-equal for images that look alike.
HASH = np.dtype([("content", "<u8", (2,)), ("perceptual", "<u8")])

# Its name becomes part of file names.
_SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Names under which the same split is commonly asked for, best first.
_SPLIT_ALIASES = {"val": "valid", "validation": "valid", "dev": "valid"}


class DataBinError(RuntimeError):
    """A data-bin is missing, incomplete, damaged or of another format version."""


def text_prefix(folder: Path, split: str) -> Path:
    """Prefix of the token files of a split."""
    return folder / f"{split}.text"


def images_path(folder: Path, split: str) -> Path:
    """The image index of a split."""
    return folder / f"{split}.images.idx"


def pairs_path(folder: Path, split: str) -> Path:
    """The caption -> image table of a split."""
    return folder / f"{split}.pairs.npy"


def hashes_path(folder: Path, split: str) -> Path:
    """The table of image hashes of a split, see HASH."""
    return folder / f"{split}.hashes.npy"


def names_prefix(folder: Path, split: str) -> Path:
    """Prefix of the line files of a split's image names."""
    return folder / f"{split}.names"


def fields_prefix(folder: Path, split: str) -> Path:
    """Prefix of the line files of a split's label fields."""
    return folder / f"{split}.fields"


def is_split_name(name: str) -> bool:
    """Whether a split may be called so."""
    return _SPLIT_NAME.fullmatch(name) is not None


def canonical_split(name: str) -> str:
    """``val``, ``validation`` and ``dev`` are stored as fairseq's ``valid``; other names stay."""
    return _SPLIT_ALIASES.get(name, name)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data-bin.

    Raises:
        DataBinError: no manifest there, it is damaged, or it is of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataBinError(
            f"{folder} is not a data-bin: it has no {MANIFEST}. Make one with mvlm-prep (see mvlm-prep --help)."
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataBinError(f"{path} is damaged ({error}); prepare the data again.") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise DataBinError(
            f"{folder} has data-bin format {version!r}, this mvlm-plugin reads {FORMAT_VERSION}: "
            "prepare the data again, or install the mvlm-plugin version that made it."
        )
    problem = None if "shards" in manifest else _manifest_problem(manifest)
    if problem:
        raise DataBinError(f"{path} is damaged ({problem}); prepare the data again.")
    return manifest


def _manifest_problem(manifest: dict[str, Any]) -> str | None:
    """What is wrong with the entries that readers rely on; None = nothing."""
    splits = manifest.get("splits")
    tokenizer = manifest.get("tokenizer")
    if not isinstance(splits, dict) or not all(isinstance(entry, dict) for entry in splits.values()):
        return "it has no splits"
    misnamed = next((name for name in splits if not is_split_name(name)), None)
    if misnamed is not None:
        return f"no split can be called {misnamed[:80]!r}"
    if not all(isinstance(entry.get("fields") or {}, dict) for entry in splits.values()):
        return "it has a split whose label fields are not given by name"
    if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("kind"), str):
        return "it has no tokenizer"
    if manifest.get("image_store") == "reference" and not isinstance(manifest.get("image_root"), str):
        return "it has no folder of the images"
    return None


def shard_folders(folder: Path) -> list[Path]:
    """The data-bins that a folder stands for: its shards, or the folder itself.

    Raises:
        DataBinError: the folder is no data-bin, or its list of shards is damaged.
    """
    manifest = read_manifest(folder)
    if "shards" not in manifest:
        return [folder]
    shards = manifest["shards"]
    if not isinstance(shards, list) or not shards:
        raise DataBinError(f"{folder / MANIFEST} is damaged: it lists no shards; prepare the data again.")
    for name in shards:
        if not isinstance(name, str) or name in {"", ".", ".."} or Path(name).name != name:
            raise DataBinError(
                f"{folder / MANIFEST} names the shard {name!r}, which is not a folder of its own folder."
            )
    return [folder / name for name in shards]


def find_split(folder: Path, name: str) -> str:
    """The stored name of split ``name`` in a data-bin, aliases resolved.

    Raises:
        DataBinError: the data-bin has no such split; the message lists those it has.
    """
    manifest = read_manifest(folder)
    if "shards" in manifest:
        raise DataBinError(f"{folder} is a sharded data-bin: name one of its shards, e.g. {shard_folders(folder)[0]}.")
    splits = manifest["splits"]
    for candidate in (name, canonical_split(name)):
        if candidate in splits:
            return candidate
    raise DataBinError(f"{folder} has no split {name!r}; it has: {', '.join(sorted(splits)) or 'none'}.")
