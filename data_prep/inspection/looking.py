"""What the tools that look at data-bins share: splits over shards, text that is safe to print, tables, JSON reports."""

import json
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mvlm_plugin.data.databin import canonical_split, read_manifest, shard_folders
from mvlm_plugin.data.image_index import ImageReadError
from mvlm_plugin.data.images import BadImageError, decode_rgb
from mvlm_plugin.data.store import PairStore

from ..records import PrepError


def printable(text: str) -> str:
    """Text in one line, without anything that a terminal obeys: control characters and alike become escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_json(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON."""
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def split_names(folder: Path, chosen: str | None = None, option: str = "--split") -> list[str]:
    """Splits of a data-bin or a sharded one: all, or those of a comma-separated choice.

    Raises:
        PrepError: it has no split of a chosen name.
        DataBinError: the folder is no data-bin.
    """
    known = sorted({split for shard in shard_folders(folder) for split in read_manifest(shard)["splits"]})
    if chosen is None:
        return known
    names = [name if name in known else canonical_split(name) for name in chosen.split(",")]
    missing = [name for name in names if name not in known]
    if missing:
        raise PrepError(f"{option}: {folder} has no split {', '.join(missing)}; it has: {', '.join(known) or 'none'}")
    return names


class SplitImages:
    """The images of a split, over all shards of a data-bin.

    Args:
        folder: the data-bin, sharded or not.
        split: stored name of the split.

    Attributes:
        stores: what the shards have of the split.
        hashes: (images,) of dtype HASH; mapped where there is one shard.

    Raises:
        DataBinError: a shard is damaged.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.split = split
        folders = [shard for shard in shard_folders(folder) if split in read_manifest(shard)["splits"]]
        self.stores = [PairStore(shard, split) for shard in folders]
        tables = [store.hashes for store in self.stores]
        self.hashes = tables[0] if len(tables) == 1 else np.concatenate(tables)
        self._ends = list(accumulate(map(len, tables)))

    def __len__(self) -> int:
        return self._ends[-1]

    def _place(self, index: int) -> tuple[PairStore, int]:
        shard = int(np.searchsorted(self._ends, index, "right"))
        return self.stores[shard], index - (self._ends[shard] - len(self.stores[shard].hashes))

    def read(self, index: int) -> bytes:
        """Encoded bytes of an image. Raises ImageReadError."""
        store, at = self._place(index)
        return store.images.read(at)

    def where(self, index: int) -> dict[str, Any]:
        """Split, index and name of an image, and its shard where there are several."""
        store, at = self._place(index)
        shard = {"shard": store.folder.name} if len(self.stores) > 1 else {}
        return {"split": self.split, **shard, "index": at, "name": store.names[at]}

    def thumbnail(self, index: int, side: int) -> Image.Image | None:
        """An image made to fit a square of ``side`` pixels; None where it cannot be read."""
        try:
            image = decode_rgb(self.read(index))
        except (ImageReadError, BadImageError):
            return None
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
        return image
