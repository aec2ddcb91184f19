"""``mvlm-export``: a checkpoint as a folder of safetensors and JSON, for mvlm_plugin.load()."""

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

import mvlm_plugin  # noqa: F401  (registers what the checkpoint names)

from .data.databin import DataBinError
from .environment import package_version
from .interface.checkpoint import read_checkpoint
from .interface.exported import is_export, publish, read_export, write_export
from .interface.loading import build


def export(path: Path, out: Path, data: str | None = None, overwrite: bool = False) -> None:
    """Write a checkpoint as a folder, whole or not at all.

    Args:
        path: checkpoint that fairseq-train wrote.
        out: folder to make.
        data: data-bin with the model's tokenizer, where it no longer lies where the training found it.
        overwrite: replace a folder that mvlm-export wrote before.

    Raises:
        OSError: no such file, or the folder cannot be written.
        ValueError: the checkpoint cannot be exported, or ``out`` exists and is not to be replaced.
        DataBinError: the tokenizer is missing or damaged.
        ImportError: the model needs a package that is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a checkpoint that fairseq-train wrote")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} exists; choose another folder, or give --overwrite to replace an earlier export")
    if out.exists() and not is_export(out):
        raise ValueError(f"{out} is no folder that mvlm-export wrote, and is not overwritten; choose another")
    saved = read_checkpoint(path, data)
    model = build(saved, "cpu").model
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        write_export(saved, model, package_version(), partial)
        build(read_export(partial), "cpu")  # what cannot be read is not published
        publish(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvlm-export",
        description="Write a checkpoint of pre-training or retrieval as a folder for mvlm_plugin.load(): "
        "model.safetensors, config.json and the tokenizer. It holds no pickle and needs neither the data-bin nor "
        "pre-trained weights; its outputs equal the checkpoint's.",
        epilog="example: mvlm-export --path checkpoints/checkpoint_last.pt --out exported",
    )
    parser.add_argument("--path", required=True, metavar="CKPT", help="checkpoint that fairseq-train wrote")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to make; it must not exist")
    parser.add_argument(
        "--data", metavar="DATABIN", help="data-bin with the model's tokenizer (default: the one it was trained on)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that mvlm-export wrote before")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of mvlm-export. Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    try:
        export(Path(args.path), Path(args.out), args.data, args.overwrite)
    except (OSError, ValueError, ImportError, DataBinError) as error:
        print(f"mvlm-export: error: {error}", file=sys.stderr)
        return 2
    size = sum(file.stat().st_size for file in Path(args.out).iterdir())
    print(f"wrote {args.out}: {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
