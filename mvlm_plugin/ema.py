"""``python -m mvlm_plugin.ema``: a checkpoint whose model has the averaged weights that ``--weight-ema`` kept.

fairseq-validate, mvlm-reconstruct and --finetune-from-model read the result like any other checkpoint.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from .interop.reading import no_code_of
from .optim.weight_ema import averages_of


def averaged_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint with averaged weights and without optimizer state, which belongs to the others.

    Frozen parameters and buffers, such as the statistics of batch norms, are the model's own. Changes its argument.

    Raises:
        ValueError: the checkpoint holds no averages, or those of another model.
    """
    averages = averages_of(checkpoint.pop("last_optimizer_state", None) or {"state": {}, "param_groups": []})
    if not averages:
        raise ValueError(
            "holds no averaged weights; train with --optimizer adamw_parts --weight-ema 0.9999, "
            "and without --no-save-optimizer-state"
        )
    model = checkpoint["model"]
    unknown = sorted(averages.keys() - model.keys())
    if unknown:
        raise ValueError(f"has averages of weights that its model lacks: {', '.join(unknown)}")
    for name, average in averages.items():
        model[name].copy_(average)  # in place: a tied weight has two names
    return checkpoint


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m mvlm_plugin.ema",
        description="Write a checkpoint whose model has the moving average of the weights that training with "
        "--optimizer adamw_parts --weight-ema DECAY kept, to validate it or to start from it.",
        epilog="example: python -m mvlm_plugin.ema --path checkpoints/checkpoint_last.pt --out checkpoints/ema.pt",
    )
    parser.add_argument("--path", required=True, help="checkpoint that fairseq-train wrote")
    parser.add_argument("--out", required=True, help="checkpoint to write")
    args = parser.parse_args(argv)
    partial = Path(f"{args.out}.partial")
    try:
        with no_code_of(args.path):
            checkpoint = torch.load(args.path, map_location="cpu", weights_only=True)
        checkpoint = averaged_checkpoint(checkpoint)
        torch.save(checkpoint, partial)
        partial.replace(args.out)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"{parser.prog}: error: {args.path}: {error}", file=sys.stderr)
        return 2
    finally:
        with suppress(OSError):
            partial.unlink()  # where writing failed
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
