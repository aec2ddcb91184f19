"""Tells what a preparation wrote."""

import sys
from typing import Any

from mvlm_plugin.data.databin import REJECTED

from .prepare import Options
from .work import WorkFolder


def report(options: Options, manifest: dict[str, Any] | None) -> int:
    """Print what was written; a manifest of None means that it was there before, or that jobs are still to come.

    Returns:
        The exit status 0.
    """
    if manifest is not None:
        print_manifest(str(options.dest), manifest)
    elif options.shard_range is None:
        print(f"{options.dest}: already prepared")
    else:
        work = WorkFolder(options.dest)
        left = len(work.missing_parts(work.load_job()))
        rest = f"{left:,} parts of other shards are still to be made" if left else "all parts are there"
        print(f"shards {options.shard_range[0]} to {options.shard_range[1] - 1} are done; {rest}")
        print(f"when all are: mvlm-prep merge {options.dest}")
    return 0


def print_manifest(dest: str, manifest: dict[str, Any]) -> None:
    """Print what a data-bin holds and what was dropped."""
    tokenizer = manifest["tokenizer"]
    print(f"wrote {dest} ({tokenizer['kind']}, {tokenizer['vocab_size']:,} dictionary entries)")
    for split, entry in manifest["splits"].items():
        print(
            f"  {split}: {entry['images']:,} images ({entry['image_bytes'] / 1e6:,.1f} MB), "
            f"{entry['captions']:,} captions, {entry['tokens']:,} tokens, {entry['unknown_tokens']:,} unknown"
        )
        converted = [f"{count:,} {mode}" for mode, count in entry["image_modes"].items() if mode != "RGB"]
        if converted:
            print(f"    converted to RGB when read: {', '.join(converted)}")
    if "shards" in manifest:
        print(f"  train with: fairseq-train {':'.join(f'{dest}/{shard}' for shard in manifest['shards'])} ...")
    _print_left_out(dest, manifest)


def _print_left_out(dest: str, manifest: dict[str, Any]) -> None:
    for name, ways in manifest["excluded"].items():
        print(f"  excluded by {name}: {', '.join(f'{count:,} images by {way}' for way, count in ways.items())}")
    duplicates = manifest["duplicates"]
    within, across = duplicates["images_within_a_split"], duplicates["images_across_splits"]
    if within:
        print(f"  images with the same bytes as another of their split: {within:,} ({duplicates['policy']})")
    if across and duplicates["policy"] == "drop":
        print(f"  images with the same bytes as one of another split: {across:,} (drop)")
    elif across:
        print(
            f"mvlm-prep: warning: {across:,} images are in more than one split with the same bytes: results on the "
            "held-out splits may be too good. --duplicates drop keeps them out of train",
            file=sys.stderr,
        )
    rejected = manifest["rejected"]
    if rejected["total"]:
        folder = f"{dest}/{manifest['shards'][0]}" if "shards" in manifest else dest
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejected["by_reason"].items())
        print(f"  rejected: {rejected['total']:,} ({reasons}); see {folder}/{REJECTED}")
