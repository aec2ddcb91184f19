"""Names and manifest of a data-bin: the folder that preparation writes and training reads.

A data-bin holds, for every split (``train``, ``valid``, ``test``, ...)::

    SPLIT.text.bin, SPLIT.text.idx   fairseq mmap token file, entry c is caption c: its tokens and </s>
    SPLIT.images.idx                 image index (see image_index.py)
    SPLIT.images*.bin                the encoded image bytes that the index points into
    SPLIT.pairs.npy                  int64 array, caption -> image: several captions may share one image

and once: ``manifest.json``, ``dict.txt``, the tokenizer's own files and ``rejected.jsonl``.
"""

import json
from pathlib import Path
from typing import Any

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
DICTIONARY = "dict.txt"
REJECTED = "rejected.jsonl"

# Names under which the same split is commonly asked for, best first.
_SPLIT_ALIASES = {"val": "valid", "validation": "valid", "dev": "valid"}


class DataBinError(RuntimeError):
    """A data-bin is missing, incomplete, damaged or of another format version."""


def text_prefix(folder: Path, split: str) -> Path:
    """Prefix of the fairseq mmap token files of a split."""
    return folder / f"{split}.text"


def images_path(folder: Path, split: str) -> Path:
    """The image index of a split."""
    return folder / f"{split}.images.idx"


def pairs_path(folder: Path, split: str) -> Path:
    """The caption -> image table of a split."""
    return folder / f"{split}.pairs.npy"


def canonical_split(name: str) -> str:
    """``val``, ``validation`` and ``dev`` are stored as fairseq's ``valid``; other names stay."""
    return _SPLIT_ALIASES.get(name, name)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data-bin.

    Raises:
        DataBinError: no manifest there, it is not JSON, or it is of a newer format.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataBinError(
            f"{folder} is not a data-bin: it has no {MANIFEST}. Make one with mvlm-prep (see mvlm-prep --help)."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataBinError(f"{path} is damaged ({error}); prepare the data again.") from error
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise DataBinError(
            f"{folder} has data-bin format {version!r}, this mvlm-plugin reads {FORMAT_VERSION}: "
            "prepare the data again, or install the mvlm-plugin version that made it."
        )
    return manifest


def find_split(folder: Path, name: str) -> str:
    """The stored name of split ``name`` in a data-bin, aliases resolved.

    Raises:
        DataBinError: the data-bin has no such split; the message lists those it has.
    """
    splits = read_manifest(folder)["splits"]
    for candidate in (name, canonical_split(name)):
        if candidate in splits:
            return candidate
    raise DataBinError(f"{folder} has no split {name!r}; it has: {', '.join(sorted(splits)) or 'none'}.")
