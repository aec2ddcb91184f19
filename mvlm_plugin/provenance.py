"""``python -m mvlm_plugin.provenance``: which data, code and packages made a checkpoint; see training_record.py."""

import argparse
import json
import pickle
import sys

import torch

from .training_record import record_of


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mvlm_plugin.provenance",
        description="Print which data (fingerprints), code and packages made a checkpoint, as JSON.",
        epilog="example: python -m mvlm_plugin.provenance checkpoints/checkpoint_last.pt",
    )
    parser.add_argument("checkpoint", help="checkpoint that fairseq-train or python -m mvlm_plugin.ema wrote")
    path = parser.parse_args(argv).checkpoint
    try:
        record = record_of(torch.load(path, map_location="cpu", weights_only=True, mmap=True))
        if record is None:
            raise ValueError("holds no record of data and versions; an older version of mvlm-plugin wrote it")
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError, EOFError) as error:
        print(f"{parser.prog}: error: {path}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
