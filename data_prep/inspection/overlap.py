"""``mvlm-prep overlap``: which images of one data-bin are also in another, or in several splits of one."""

import argparse
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from ..exclusion import distance_option
from ..parallel import progress_bar
from ..records import PrepError
from ..similarity import DEFAULT_DISTANCE, MAX_DISTANCE, Matches, match_images
from ..tools import Tool
from .contact_sheet import THUMBNAIL, Pair, contact_sheet
from .looking import SplitImages, printable, split_names, table, write_json

SCHEMA = 1
_DEFAULT_LIMIT = 60
_MAX_SHEET = 300


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="a data-bin")
    parser.add_argument(
        "b", type=Path, nargs="?", metavar="B",
        help="another data-bin (default: compare the splits of A with each other)",
    )  # fmt: skip
    parser.add_argument("--splits-a", metavar="NAME,NAME", help="splits of A (default: all)")
    parser.add_argument("--splits-b", metavar="NAME,NAME", help="splits of B (default: all)")
    parser.add_argument(
        "--distance", type=distance_option, default=DEFAULT_DISTANCE, metavar="BITS",
        help="bits of 64 in which the perceptual hashes of near-duplicates may differ, at most "
        f"{MAX_DISTANCE}; -1 = only the same bytes (default: {DEFAULT_DISTANCE})",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=_limit, default=_DEFAULT_LIMIT, metavar="N",
        help="pairs that are listed and drawn, for each two splits: the most doubtful first, then those with the same "
        f"bytes; 0 = none, at most {_MAX_SHEET} (default: {_DEFAULT_LIMIT})",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write counts and pairs as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw the pairs side by side, as a PNG file")


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > _MAX_SHEET:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {_MAX_SHEET}")
    return int(text)


def _counts(matches: Matches) -> dict[str, int]:
    """Images found with the same bytes, and others found to be near-duplicates."""
    found = matches.entry >= 0
    exact = found & (matches.distance < 0)
    return {"exact": int(exact.sum()), "near": int(found.sum() - exact.sum())}


def _listed(matches: Matches, limit: int) -> list[int]:
    """Images whose matches are listed: the farthest near-duplicate first, those with the same bytes last."""
    found = np.flatnonzero(matches.entry >= 0)
    return found[np.argsort(-matches.distance[found], kind="stable")][:limit].tolist()


def compare_splits(a: SplitImages, b: SplitImages, distance: int, limit: int) -> tuple[dict[str, Any], list[Pair]]:
    """Look for the images of each split in the other.

    Args:
        a, b: the splits.
        distance: see match_images.
        limit: pairs that are listed.

    Returns:
        The entry of the report, and the listed pairs to be drawn, without pictures being read more than once.
    """
    with progress_bar(len(a) + len(b), f"compare {a.split} and {b.split}", "image", scale=True) as bar:
        in_b = match_images(a.hashes, b.hashes, distance, bar.update)
        in_a = match_images(b.hashes, a.hashes, distance, bar.update)
    pairs, drawn = [], []
    for index in _listed(in_b, limit):
        other, bits = int(in_b.entry[index]), int(in_b.distance[index])
        left, right = a.where(index), b.where(other)
        pairs.append({"a": left, "b": right, "same_bytes": bits < 0, "distance": max(bits, 0)})
        likeness = "same bytes" if bits < 0 else f"{bits} bits apart"
        title = f"{a.split} {left['index']} / {b.split} {right['index']}: {likeness}"
        pictures = a.thumbnail(index, THUMBNAIL), b.thumbnail(other, THUMBNAIL)
        drawn.append(Pair(*pictures, title, left["name"], right["name"]))
    entry = {
        "a": a.split, "b": b.split, "images_a": len(a), "images_b": len(b),
        "a_in_b": _counts(in_b), "b_in_a": _counts(in_a), "pairs": pairs,
    }  # fmt: skip
    return entry, drawn


def _print_counts(report: dict[str, Any]) -> None:
    one = report["a"] == report["b"]
    of = {"a": "", "b": ""} if one else {"a": " of A", "b": " of B"}
    rows = [["splits", "images", "found in the other, same bytes", "near"]]
    for entry in report["splits"]:
        for own, other in (("a", "b"), ("b", "a")):
            counts = entry[f"{own}_in_{other}"]
            label = f"{entry[own]}{of[own]} in {entry[other]}{of[other]}"
            rows.append([label, f"{entry[f'images_{own}']:,}", f"{counts['exact']:,}", f"{counts['near']:,}"])
    print(printable(report["a"]) if one else f"A = {printable(report['a'])}\nB = {printable(report['b'])}")
    if report["distance"] >= 0:
        print(f"near: other bytes, perceptual hashes at most {report['distance']} bits apart")
    print(table(rows))


def _run(args: argparse.Namespace) -> int:
    a_names = split_names(args.a, args.splits_a, "--splits-a")
    b_names = split_names(args.b or args.a, args.splits_b, "--splits-b")
    combined = list(product(a_names, b_names))
    if args.b is None:
        if args.splits_b is None:
            combined = list(combinations(a_names, 2))
        combined = [(a, b) for a, b in combined if a != b]
        if not combined:
            raise PrepError(f"{args.a} has no two splits to compare: name a second data-bin")
    report: dict[str, Any] = {
        "schema": SCHEMA, "a": str(args.a), "b": str(args.b or args.a), "distance": args.distance, "splits": [],
    }  # fmt: skip
    drawn: list[Pair] = []
    for a_name, b_name in combined:
        splits = SplitImages(args.a, a_name), SplitImages(args.b or args.a, b_name)
        entry, pairs = compare_splits(*splits, args.distance, args.limit if args.json or args.out else 0)
        report["splits"].append(entry)
        drawn.extend(pairs[: _MAX_SHEET - len(drawn)] if args.out else ())
    _print_counts(report)
    if args.json:
        write_json(args.json, report)
    if args.out:
        contact_sheet(drawn).save(args.out, "PNG")
        print(f"wrote {args.out} ({len(drawn):,} pairs)")
    return 0


TOOL = Tool(
    name="overlap",
    summary="Count and show the images that two data-bins, or two splits of one, have in common, exactly or nearly.",
    example="mvlm-prep overlap data-bin/coco data-bin/flickr30k --out overlap.png",
    add_options=_add_options,
    run=_run,
)
