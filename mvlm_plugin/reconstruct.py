"""``mvlm-reconstruct``: pictures of what a checkpoint rebuilds, with the right partner and with a wrong one."""

import argparse
import logging
import sys
from pathlib import Path

import mvlm_plugin  # noqa: F401  (registers what the checkpoint names)

from .checkpoints import open_checkpoint
from .data.databin import DataBinError, shard_folders
from .data.tokenizers import load_tokenizer
from .panels.predictions import predict
from .panels.sheet import draw_sheet, first_pairs, make_rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvlm-reconstruct",
        description="Write a sheet of pictures: original, masked, rebuilt with the own caption, rebuilt with another "
        "pair's caption; beside them the masked words and those predicted with the own and with another image.",
        epilog="example: mvlm-reconstruct --path checkpoints/checkpoint_last.pt --data data-bin/scenes "
        "--subset test --out reconstructions.png",
    )
    parser.add_argument("--path", required=True, help="checkpoint that fairseq-train wrote")
    parser.add_argument("--data", required=True, help="data-bin to take pairs from")
    parser.add_argument("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    parser.add_argument("--out", default="reconstructions.png", help="PNG to write (default: %(default)s)")
    parser.add_argument("--count", type=int, default=6, help="number of pairs, one a row (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of mvlm-reconstruct. Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    if args.count < 1:
        print("mvlm-reconstruct: error: --count must be at least 1", file=sys.stderr)
        return 2
    try:
        model, task = open_checkpoint(args.path, args.data)
        task.load_dataset(args.subset)
        tokenizer = load_tokenizer(shard_folders(Path(args.data))[0])
    except (OSError, ValueError, DataBinError) as error:
        print(f"mvlm-reconstruct: error: {error}", file=sys.stderr)
        return 2
    tokenizer.dictionary = task.source_dictionary
    dataset = task.dataset(args.subset)
    sample = dataset.collater(first_pairs(dataset, args.count))
    sheet = draw_sheet(make_rows(model, sample, predict(model, sample), tokenizer, args.count))
    partial = Path(f"{args.out}.partial.png")
    sheet.save(partial)
    partial.replace(args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
