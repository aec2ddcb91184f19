"""Which images are the same: by their bytes, or nearly, by what they look like.

What the perceptual hash makes of photographs, measured on Flickr8k (the same photo changed, 500 photos; then all
25 million pairs of 7,091 different photos, of which one pair is a real duplicate):

=============================================  ==========================================
change                                         share of photos farther apart than 6 bits
=============================================  ==========================================
size halved, quartered, times 2 or 5; grey     0
JPEG quality 20; brightness * 0.8 or * 1.1     0
2 % cut off each side                          0.05
5 % cut off each side; mirrored                0.76; 1
=============================================  ==========================================

============================  ======  ======  ======  ======
pairs of different photos at  <= 6    <= 8    <= 10   <= 12
============================  ======  ======  ======  ======
of 25 million                 0       1       20      169
============================  ======  ======  ======  ======
"""

import hashlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

# Bits of 64 in which near-duplicates may differ; see the tables above. Distances are nearly always even.
DEFAULT_DISTANCE = 6
# More would take hundreds of unrelated photos for duplicates of every 10,000 that are compared with.
MAX_DISTANCE = 10
NO_PERCEPTUAL = 0

# Every picture is looked at in a grid of so many pixels a side, averaged down to _SIDE: as good as all its pixels.
_GRID = 128
_SIDE = 32
_FREQUENCIES = 8
_FLAT_LEVELS = 8
_BANDS = 4
_BAND_BITS = 16
_BUCKETS = 1 << _BAND_BITS
_CANDIDATES_AT_ONCE = 1 << 22
_QUERIES_AT_ONCE = 1 << 13
_ENTRIES_AT_ONCE = 1 << 22


# (frequencies, pixels): the lowest rows of the type II discrete cosine transform.
_COSINES = np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * (2 * np.arange(_SIDE) + 1) / (2 * _SIDE))


def content_hash(data: bytes) -> bytes:
    """The first 16 bytes of the SHA-256 of encoded image bytes."""
    return hashlib.sha256(data).digest()[:16]


def perceptual_hash(image: Image.Image) -> int:
    """64-bit perceptual hash, much as the ImageHash package's ``phash``: nearby hashes, similar pictures.

    The signs, about their median, of the lowest frequencies of the discrete cosine transform of the picture at 32 x 32
    pixels. Written out here because the package takes as long for an image as decoding it.

    Args:
        image: an RGB image of any size.

    Returns:
        The hash, first bit uppermost; NO_PERCEPTUAL for a picture that is flat along one of its axes (its levels of
        grey differ by less than 8): nothing but rounding would decide its hash, and all such pictures would look alike.
    """
    grid = image.resize((_GRID, _GRID), Image.Resampling.NEAREST).convert("L")
    levels = np.asarray(grid.reduce(_GRID // _SIDE), dtype=np.float64)
    if np.ptp(levels, axis=0).max() < _FLAT_LEVELS or np.ptp(levels, axis=1).max() < _FLAT_LEVELS:
        return NO_PERCEPTUAL
    low = (_COSINES @ levels @ _COSINES.T).ravel()
    middle = np.sort(low)[low.size // 2 - 1 : low.size // 2 + 1].mean()
    return int.from_bytes(np.packbits(low > middle).tobytes(), "big")


def _masks_within(radius: int) -> np.ndarray:
    """All words of a band's width with at most ``radius`` bits set."""
    return np.array(
        [sum(1 << bit for bit in bits) for size in range(radius + 1) for bits in combinations(range(_BAND_BITS), size)],
        dtype=np.uint16,
    )


def _ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """first[0], first[0] + 1, ... (counts[0] numbers), first[1], ...: all ranges after one another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - counts), counts)


class Matches(NamedTuple):
    """The best match of each query.

    Attributes:
        entry: (Q,) int64, its number; -1 where none matches.
        distance: (Q,) int8, bits that differ; -1 = the same bytes. Meaningless without a match.
    """

    entry: np.ndarray
    distance: np.ndarray


def _no_matches(count: int) -> Matches:
    return Matches(np.full(count, -1, dtype=np.int64), np.full(count, 127, dtype=np.int8))


class HashIndex:
    """Finds images by content and, within a Hamming distance, by perceptual hash, in up to millions of entries.

    Two hashes within d bits of one another agree in one of four bands of 16 bits up to d // 4 bits: only entries that
    do are compared. Takes about 56 bytes an entry; saved and opened again, it is mapped, and processes share its pages.

    Args:
        tables: what build() made.
    """

    def __init__(self, tables: dict[str, np.ndarray]) -> None:
        self._tables = tables

    @classmethod
    def build(cls, hashes: np.ndarray) -> "HashIndex":
        """Index structured hashes (n,) of dtype HASH; of entries that are alike, the first is found."""
        content = np.ascontiguousarray(hashes["content"])
        by_content = np.lexsort((content[:, 1], content[:, 0]))
        looks, first = np.unique(hashes["perceptual"], return_index=True)
        known = looks != NO_PERCEPTUAL
        looks, first = looks[known], first[known]
        orders, starts = [], []
        for band in range(_BANDS):
            keys = _band(looks, band)
            orders.append(np.argsort(keys, kind="stable").astype(np.uint32))
            starts.append(np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=_BUCKETS))]))
        return cls(
            {
                "content": content[by_content],
                "content_entry": by_content,
                "looks": looks,
                "looks_entry": first,
                "orders": np.stack(orders),
                "starts": np.stack(starts),
            }
        )

    def save(self, folder: Path) -> None:
        """Write the tables into a folder that exists."""
        for name, table in self._tables.items():
            np.save(folder / f"{name}.npy", table)

    @classmethod
    def open(cls, folder: Path) -> "HashIndex":
        """The index that was saved in a folder, mapped."""
        return cls({path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")})

    def exact(self, content: np.ndarray) -> np.ndarray:
        """Entries with the same content.

        Args:
            content: (Q, 2) uint64 as in HASH.

        Returns:
            (Q,) int64, -1 where there is none.
        """
        stored = self._tables["content"]
        low = np.searchsorted(stored[:, 0], content[:, 0], "left")
        high = np.searchsorted(stored[:, 0], content[:, 0], "right")
        found = np.full(len(content), -1, dtype=np.int64)
        query = np.repeat(np.arange(len(content)), high - low)
        at = _ranges(low, high - low)
        same = stored[at, 1] == content[query, 1]
        # Backwards: the first of several entries is written last.
        found[query[same][::-1]] = self._tables["content_entry"][at[same][::-1]]
        return found

    def near(self, looks: np.ndarray, distance: int) -> Matches:
        """The nearest entries within ``distance`` bits; any of several that are as near, the same one every time.

        Args:
            looks: (Q,) uint64 perceptual hashes; NO_PERCEPTUAL matches nothing.
            distance: 0 to MAX_DISTANCE, or -1: nothing is that near.
        """
        found = _no_matches(len(looks))
        if not len(self._tables["looks"]):
            return found
        masks = _masks_within(distance // _BANDS)
        asked = np.flatnonzero(looks != NO_PERCEPTUAL)
        for start in range(0, len(asked), _QUERIES_AT_ONCE):
            queries = asked[start : start + _QUERIES_AT_ONCE]
            for band in range(_BANDS):
                self._near_in_band(looks, queries, band, masks, distance, found)
        return found

    def _near_in_band(
        self, looks: np.ndarray, queries: np.ndarray, band: int, masks: np.ndarray, distance: int, found: Matches
    ) -> None:
        probes = _band(looks[queries], band)[:, None] ^ masks
        starts = self._tables["starts"][band]
        low = starts[probes]
        counts = starts[probes.astype(np.int64) + 1] - low
        ends = np.cumsum(counts.sum(axis=1))
        first = 0
        while first < len(queries):
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + _CANDIDATES_AT_ONCE, "right")))
            part = slice(first, last)
            at = self._tables["orders"][band][_ranges(low[part].ravel(), counts[part].ravel())]
            query = np.repeat(queries[part], counts[part].sum(axis=1))
            bits = np.bitwise_count(looks[query] ^ self._tables["looks"][at]).astype(np.int8)
            close = np.flatnonzero(bits <= distance)
            # The nearest candidate of each query is written last.
            close = close[np.argsort(-bits[close], kind="stable")]
            close = close[bits[close] < found.distance[query[close]]]
            found.entry[query[close]] = self._tables["looks_entry"][at[close]]
            found.distance[query[close]] = bits[close]
            first = last


def _band(looks: np.ndarray, band: int) -> np.ndarray:
    return ((looks >> np.uint64(band * _BAND_BITS)) & np.uint64(_BUCKETS - 1)).astype(np.uint16)


def match_images(
    queries: np.ndarray, entries: np.ndarray, distance: int, advance: Callable[[float], object] | None = None
) -> Matches:
    """For each image the entry with the same bytes or else the one that looks most alike.

    Args:
        queries, entries: structured hashes of dtype HASH, may be mapped: they are read in pieces.
        distance: bits that near-duplicates may differ in; -1 asks for the same bytes only.
        advance: told of progress, in queries; what it is told adds up to all of them.
    """
    best = _no_matches(len(queries))
    pieces = range(0, len(entries), _ENTRIES_AT_ONCE)
    for offset in pieces:
        index = HashIndex.build(np.asarray(entries[offset : offset + _ENTRIES_AT_ONCE]))
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            here = slice(start, start + _QUERIES_AT_ONCE)
            piece = np.asarray(queries[here])
            exact = index.exact(piece["content"])
            near = index.near(piece["perceptual"], distance)
            found = np.where(exact >= 0, exact, near.entry)
            bits = np.where(exact >= 0, -1, near.distance).astype(np.int8)
            better = (found >= 0) & (bits < best.distance[here])
            best.entry[here][better] = found[better] + offset
            best.distance[here][better] = bits[better]
            if advance is not None:
                advance(len(piece) / len(pieces))
    return best
