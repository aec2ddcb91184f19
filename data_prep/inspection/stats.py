"""``mvlm-prep stats``: what a data-bin holds, as text, JSON or a page.

The JSON report (``schema`` 1; fields are added, never changed, under the same number)::

    schema, folder, image_store, tokenizer        as in the manifest
    rejected, excluded, duplicates                as in the manifest
    splits.SPLIT
      images, captions, images_per_text           counts
      captions_per_image, caption_tokens          DISTRIBUTION; tokens without </s>
      width, height, aspect, megapixels           DISTRIBUTION; pixels, width / height, 10^6 pixels
      bytes, kibibytes                            encoded images: sum; DISTRIBUTION
      vocabulary                                  dictionary (entries without specials), used, tokens, unknown_tokens,
                                                  unknown_rate, most_frequent: [{id, token, count}]
      formats                                     sample (images looked at), counts {format: images}
      modes                                       {colour mode: images}, before the conversion to RGB
      duplicates                                  same_bytes: images with the bytes of an earlier one; near: distance,
                                                  sample (images looked at), with_near_duplicate (of those)
      fields.NAME                                 type, missing (captions), different (values; null = over 100,000),
                                                  most_frequent: [{value, count}], elements of lists counted one by one

    DISTRIBUTION: count, min, mean, max, percentiles {"5", "25", "50", "75", "95"}, histogram [{from, to, count}],
    to not included; null where there is nothing to count
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import read_manifest, shard_folders
from mvlm_plugin.data.tokenizers import load_tokenizer

from ..tools import Tool
from .looking import SplitImages, printable, split_names, table, write_json
from .split_stats import split_stats
from .stats_page import check_plots, write_page

SCHEMA = 1
DISTRIBUTIONS = {
    "captions_per_image": "captions of an image",
    "caption_tokens": "tokens of a caption",
    "width": "image width (pixels)",
    "height": "image height (pixels)",
    "aspect": "width / height",
    "megapixels": "megapixels",
    "kibibytes": "encoded image (KiB)",
}


def collect(folder: Path) -> dict[str, Any]:
    """The report on a data-bin, sharded or not.

    Raises:
        DataBinError: the folder is no data-bin, or damaged.
    """
    manifest = read_manifest(folder)
    tokenizer = load_tokenizer(shard_folders(folder)[0])
    return {
        "schema": SCHEMA,
        "folder": str(folder),
        **{key: manifest.get(key) for key in ("image_store", "tokenizer", "rejected", "excluded", "duplicates")},
        "splits": {
            split: split_stats(SplitImages(folder, split), manifest["splits"][split], tokenizer)
            for split in split_names(folder)
        },
    }


def _split_lines(split: str, entry: dict[str, Any]) -> Iterator[str]:
    yield f"\n{split}: {entry['images']:,} images, {entry['captions']:,} captions"
    if entry["images_per_text"] > 1:
        yield f"  images of a text: {entry['images_per_text']}"
    rows = [["  ", "min", "5 %", "25 %", "median", "75 %", "95 %", "max", "mean"]]
    for key, label in DISTRIBUTIONS.items():
        figures = entry[key]
        if figures is not None:
            values = [figures["min"], *figures["percentiles"].values(), figures["max"], figures["mean"]]
            rows.append([f"  {label}", *(f"{value:,.6g}" for value in values)])
    yield table(rows)
    words = entry["vocabulary"]
    share = words["used"] / words["dictionary"] if words["dictionary"] else 0.0
    yield (
        f"  dictionary: {words['used']:,} of {words['dictionary']:,} entries used ({share:.1%}), "
        f"{words['unknown_tokens']:,} of {words['tokens']:,} tokens unknown ({words['unknown_rate']:.3%})"
    )
    yield "  most frequent: " + ", ".join(f"{top['token']} {top['count']:,}" for top in words["most_frequent"])
    formats, near = entry["formats"], entry["duplicates"]["near"]
    yield f"  formats of {formats['sample']:,} images: {_counts(formats['counts'])}"
    yield f"  colour modes: {_counts(entry['modes'])}"
    yield (
        f"  images that repeat the bytes of another: {entry['duplicates']['same_bytes']:,}; "
        f"of {near['sample']:,} looked at, {near['with_near_duplicate']:,} have a near-duplicate "
        f"(at most {near['distance']} bits apart)"
    )
    for name, field in entry["fields"].items():
        different = "very many" if field["different"] is None else f"{field['different']:,}"
        top_values = ", ".join(f"{json.dumps(top['value'])} {top['count']:,}" for top in field["most_frequent"])
        yield f"  label field {name} ({field['type']}): missing {field['missing']:,}, {different} values: {top_values}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def report_lines(report: dict[str, Any]) -> Iterator[str]:
    """The report as text; nothing in it is obeyed by a terminal."""
    yield f"{report['folder']} ({(report['tokenizer'] or {}).get('kind')}, images {report['image_store']})"
    for split, entry in report["splits"].items():
        yield from _split_lines(split, entry)
    rejected = report["rejected"] or {"total": 0, "by_reason": {}}
    yield f"\nrejected: {rejected['total']:,} ({_counts(rejected['by_reason'])})"
    for name, ways in (report["excluded"] or {}).items():
        yield f"excluded by {name}: {_counts(ways)}"


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("databin", type=Path, metavar="DATABIN", help="folder that mvlm-prep wrote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with plots and examples; needs the extra [plots]"
    )


def _run(args: argparse.Namespace) -> int:
    if args.html:
        check_plots()
    report = collect(args.databin)
    # Line by line: what is between the line feeds cannot hold any.
    for text in report_lines(report):
        print("\n".join(map(printable, text.split("\n"))))
    if args.json:
        write_json(args.json, report)
    if args.html:
        write_page(args.html, report, args.databin, DISTRIBUTIONS)
        print(f"wrote {printable(str(args.html))}")
    return 0


TOOL = Tool(
    name="stats",
    summary="Print what a data-bin holds: counts, caption lengths, vocabulary, image sizes, duplicates, label fields.",
    example="mvlm-prep stats data-bin/mine --html stats.html",
    add_options=_add_options,
    run=_run,
)
