"""What must not be trained on: images of evaluation sets, found by their ids, their bytes or what they look like."""

import argparse
import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mvlm_plugin.data.databin import HASH

from .disk_table import open_database
from .exclusion_specs import databin_hash_files, databin_hashes, parse_specs, spec_ids
from .files import sha256_of
from .similarity import DEFAULT_DISTANCE, MAX_DISTANCE, HashIndex


def add_exclusion_options(parser: argparse._ActionsContainer) -> None:
    """Add --exclude and --exclude-distance."""
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="SPEC",
        help="leave images of an evaluation set out of the train split; repeatable. SPEC is a Karpathy JSON (its val "
        "and test splits), a text file with an image id or file name a line, or a data-bin (its valid and test "
        "splits, compared by content); SPEC:SPLIT,SPLIT chooses other splits",
    )  # fmt: skip
    parser.add_argument(
        "--exclude-distance", type=distance_option, default=DEFAULT_DISTANCE, metavar="BITS",
        help="bits of 64 in which the perceptual hash of a near-duplicate of an image of an excluded data-bin may "
        f"differ, at most {MAX_DISTANCE}; -1 = only the same bytes (default: {DEFAULT_DISTANCE})",
    )  # fmt: skip


def distance_option(text: str) -> int:
    """Type of distance options: -1 to MAX_DISTANCE."""
    if not re.fullmatch(r"-?\d{1,3}", text, re.ASCII) or not -1 <= int(text) <= MAX_DISTANCE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from -1 to {MAX_DISTANCE}")
    return int(text)


def missing_exclusion_warning(dataset: str) -> str:
    """What to say where COCO or Visual Genome become training data and nothing is excluded.

    Args:
        dataset: "COCO" or "Visual Genome".
    """
    return (
        f"{dataset} is prepared for training without --exclude. About half of Visual Genome's images are COCO images, "
        "and many test sets for retrieval, captioning, question answering and referring expressions are made of both: "
        "figures on them would be too good. Give --exclude dataset_coco.json (its val and test splits) or a list of "
        "ids."
    )


def exclusion_request(texts: Sequence[str], distance: int) -> dict[str, Any]:
    """What decides which images are excluded, for the manifest's request: hashes of the specs' files, and the distance.

    Args:
        texts, distance: as for Exclusions.load.

    Raises:
        PrepError, DataBinError, OSError: a spec is unusable.
    """
    entries: list[dict[str, Any]] = []
    for spec in parse_specs(texts):
        entry: dict[str, Any] = {"name": spec.name, "splits": list(spec.splits) if spec.splits else None}
        if spec.kind == "databin":
            paths = databin_hash_files(spec)
            entry["sha256"] = {str(path.relative_to(spec.path)): sha256_of(str(path)) for path in paths}
        else:
            entry["sha256"] = sha256_of(spec.path)
        entries.append(entry)
    return {"specs": entries, "distance": distance}


class Exclusions:
    """Images that must not be trained on. Pickled as a path: its tables lie in files whose pages processes share.

    Args:
        folder: where load() wrote them.

    Attributes:
        names: of the exclusions, as they are counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        table = json.loads((folder / "exclusions.json").read_text(encoding="utf-8"))
        self.names: list[str] = table["names"]
        self._distance: int = table["distance"]
        # Exclusion i has the entries of the index up to ends[i].
        self._ends = np.array(table["ends"], dtype=np.int64)
        self._index = HashIndex.open(folder / "hashes") if table["ends"] and table["ends"][-1] else None
        address = f"{(folder / 'ids.sqlite').resolve().as_uri()}?mode=ro&immutable=1"
        self._ids = sqlite3.connect(address, uri=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return Exclusions, (self.folder,)

    @classmethod
    def load(cls, texts: Sequence[str], distance: int, scratch: Path) -> "Exclusions":
        """Read what --exclude options name.

        Args:
            texts: the options' values; may be empty.
            distance: bits that near-duplicates may differ in, -1 = only the same bytes.
            scratch: the folder "exclusions" is written in it, and must stay as long as the result or a copy is used.

        Raises:
            PrepError, DataBinError, OSError: a spec is unusable.
        """
        folder = scratch / "exclusions"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "hashes").mkdir(parents=True)
        database = open_database(folder / "ids.sqlite")
        database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, owner INTEGER NOT NULL) WITHOUT ROWID")
        specs = parse_specs(texts)
        hashes = [np.zeros(0, dtype=HASH)]
        ends: list[int] = []
        for owner, spec in enumerate(specs):
            if spec.kind == "databin":
                hashes.extend(databin_hashes(spec))
            else:
                rows = ((_stored_id(image_id), owner) for image_id in spec_ids(spec))
                database.execute("BEGIN")
                database.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", rows)
                database.execute("COMMIT")
            ends.append(sum(map(len, hashes)))
        database.close()
        HashIndex.build(np.concatenate(hashes)).save(folder / "hashes")
        table = {"names": [spec.name for spec in specs], "ends": ends, "distance": distance}
        (folder / "exclusions.json").write_text(json.dumps(table), encoding="utf-8")
        return cls(folder)

    def by_ids(self, ids: Iterable[str]) -> str | None:
        """The first exclusion that names an image by one of its ids, or None.

        Args:
            ids: as in Row.ids, and ``name:`` with the stem of the image's file name.
        """
        asked = [_stored_id(image_id) for image_id in ids]
        query = f"SELECT min(owner) FROM ids WHERE id IN ({','.join('?' * len(asked))})"
        owner = self._ids.execute(query, asked).fetchone()[0]
        return None if owner is None else self.names[owner]

    def by_hash(self, content: bytes, perceptual: int) -> tuple[str, Literal["exact", "near"]] | None:
        """The excluded data-bin that holds an image, and whether as the same bytes or as a near-duplicate; or None.

        Args:
            content: content_hash() of the encoded image.
            perceptual: perceptual_hash() of the image.
        """
        if self._index is None:
            return None
        exact = int(self._index.exact(np.frombuffer(content, "<u8")[None])[0])
        if exact >= 0:
            return self._name(exact), "exact"
        near = int(self._index.near(np.array([perceptual], dtype=np.uint64), self._distance).entry[0])
        return None if near < 0 else (self._name(near), "near")

    def _name(self, entry: int) -> str:
        return self.names[int(np.searchsorted(self._ends, entry, "right"))]


def _stored_id(image_id: str) -> bytes:
    # SQLite refuses strings with half characters.
    return image_id.encode("utf-8", "surrogatepass")
