"""What the subcommands of mvlm-eval share: their form, their options and their report."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Report(NamedTuple):
    """What an evaluation found.

    protocol: under what conditions, e.g. checkpoint, stage, subset, resolution, images, captions, k; figures: by name,
    maybe nested once, e.g. {"itc": {"i2t_r1": 0.25}}; text: the figures for people.
    """

    protocol: Mapping[str, Any]
    figures: Mapping[str, Any]
    text: str


@dataclass(frozen=True)
class EvalCommand:
    """A subcommand of mvlm-eval.

    Attributes:
        name: of the subcommand.
        summary: one sentence.
        example: a command line that a user can paste.
        add_options: adds the subcommand's own options to its parser; add_common_options() has been called.
        run: parsed options -> report. Raises OSError, ValueError, ImportError or DataBinError with the fix in it.
        needs_path: whether --path must be given; False where run() can do without and checks for itself.
    """

    name: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Report]
    needs_path: bool = True


def add_common_options(parser: argparse.ArgumentParser, needs_path: bool = True) -> None:
    """Add --path, --json, --batch-size and --device."""
    parser.add_argument("--path", required=needs_path, metavar="CKPT", help="checkpoint that fairseq-train wrote")
    parser.add_argument("--json", metavar="FILE", help="also write protocol and figures to this JSON file")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="per forward pass (default: 64)")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="torch device (default: cuda where there is one, else cpu)",
    )


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add --data and --subset, for evaluations of a data-bin."""
    parser.add_argument("--data", required=True, metavar="DATABIN", help="data-bin that mvlm-prep made")
    parser.add_argument("--subset", default="test", metavar="SPLIT", help="its split (default: %(default)s)")


def write_whole(path: str, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    partial = Path(f"{path}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
