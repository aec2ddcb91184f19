"""Write the --splits file of mvlm-prep tsv: all lines of an image are of one split, and folds do not overlap."""

import argparse
import random
import re
from pathlib import Path


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tsv", help="lines that start with an image path and a TAB")
    parser.add_argument("out", help="lines 'image TAB split' to write; splits are train and test")
    parser.add_argument("--folds", type=int, default=5, help="the images are cut into so many folds (default: 5)")
    parser.add_argument("--fold", type=int, default=1, help="which of them is the test split, from 1 (default: 1)")
    parser.add_argument(
        "--group",
        default="(.*)",
        help="regular expression; images whose first group is equal stay together, e.g. '(dev-[0-9]+)-' (default: "
        "each image alone)",
    )
    args = parser.parse_args()
    if not 1 <= args.fold <= args.folds:
        parser.error(f"--fold {args.fold} must lie between 1 and --folds {args.folds}")
    with open(args.tsv, encoding="utf-8") as file:
        images = sorted({line.split("\t", 1)[0] for line in file})
    groups = {}
    for image in images:
        found = re.search(args.group, image)
        if found is None:
            parser.error(f"--group {args.group!r} does not match {image!r}")
        groups[image] = found.group(1)
    names = sorted(set(groups.values()))
    random.Random(0).shuffle(names)
    held_out = set(names[args.fold - 1 :: args.folds])
    partial = Path(f"{args.out}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "w", encoding="utf-8") as file:
        for image in images:
            file.write(f"{image}\t{'test' if groups[image] in held_out else 'train'}\n")
    partial.replace(args.out)
    print(f"{args.out}: {len(held_out)} of {len(names)} groups of images are the test split")


if __name__ == "__main__":
    main()
