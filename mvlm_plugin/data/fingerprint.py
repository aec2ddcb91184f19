"""One number for all that a data-bin holds."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .databin import MANIFEST, REJECTED, DataBinError, read_manifest


def fingerprint_of(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the names and hashes of a data-bin's files, as its manifest lists them.

    Left out is what may differ where the data do not: the list of what was rejected, and the place and age of images
    that are read where they lie (their index; the hashes of the images themselves count).

    Args:
        manifest: of a data-bin that is not sharded, with ``files`` and ``image_store``.

    Returns:
        64 hexadecimal digits; empty where the manifest lists no files, as one that another program wrote.

    Raises:
        DataBinError: the list of files is damaged.
    """
    files = manifest.get("files")
    if files is None:
        return ""
    is_outside = manifest.get("image_store") == "reference"
    digest = hashlib.sha256()
    try:
        for name in sorted(files):
            if name != REJECTED and not (is_outside and name.endswith(".images.idx")):
                digest.update(f"{name}\0{files[name]['sha256']}\n".encode())
    except (LookupError, TypeError, UnicodeEncodeError) as error:
        raise DataBinError(
            f"the files listed in {MANIFEST} are damaged ({error!r}); prepare the data again."
        ) from error
    return digest.hexdigest()


def joined_fingerprint(shards: Sequence[str]) -> str:
    """The fingerprint of a sharded data-bin from those of its shards, in order."""
    return hashlib.sha256("\n".join(shards).encode()).hexdigest()


def fingerprint(folder: Path) -> str:
    """The fingerprint of a data-bin that is not sharded; its files are not read (``mvlm-prep verify`` does that).

    Raises:
        DataBinError: the folder is no data-bin, or its list of files is damaged.
    """
    return fingerprint_of(read_manifest(folder))
