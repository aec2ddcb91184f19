"""The ``mvlm-prep`` command."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from mvlm_plugin.data.databin import REJECTED, DataBinError, canonical_split, read_manifest

from .options import add_common_options, add_workers_option, image_side, options_of, pairs_count, seed
from .prepare import prepare_files
from .records import PrepError, RejectionLog, is_split_name
from .scenes import prepare_scenes
from .sources import read_karpathy, read_tsv
from .verify import verify_databin

_DESCRIPTION = """Turn images and captions into a data-bin: the folder that fairseq training with mvlm-plugin reads."""
_EPILOG = """each command has its own help with an example, such as: mvlm-prep scenes --help
Bad records never stop a run: they are dropped, counted, and listed with their reasons in DEST/rejected.jsonl."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mvlm-prep: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line of mvlm-prep."""
    parser = _Parser(
        prog="mvlm-prep", description=_DESCRIPTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_scenes(commands)
    _add_tsv(commands)
    _add_karpathy(commands)
    _add_verify(commands)
    return parser


def _add_command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name, help=summary, description=summary, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip


def _add_scenes(commands: Any) -> None:
    parser = _add_command(
        commands, "scenes", "Generate pictures of two or three shapes with exact captions; needs no data.",
        "mvlm-prep scenes --pairs 4000 --dest data/scenes",
    )  # fmt: skip
    parser.add_argument(
        "--pairs", type=pairs_count, required=True, metavar="N",
        help="pictures of all splits together, each with one caption, no two alike; an eighth of them, at most 500, "
        "is the valid split, as many the test split",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=1, metavar="S", help="same seed, same pictures (default: 1)")
    parser.add_argument(
        "--image-size", type=image_side, default=64, metavar="PIXELS",
        help="height and width of the pictures, 32 to 1024 pixels (default: 64)",
    )  # fmt: skip
    add_common_options(parser)
    parser.set_defaults(run=_run_scenes)


def _add_tsv(commands: Any) -> None:
    parser = _add_command(
        commands, "tsv", "Prepare images whose captions are lines of a tab-separated file.",
        "mvlm-prep tsv --captions captions.tsv --splits splits.tsv --images images --dest data/my-set",
    )  # fmt: skip
    parser.add_argument(
        "--captions", type=Path, required=True, metavar="FILE",
        help="UTF-8 lines 'image<TAB>caption' without header; an image may have several lines",
    )  # fmt: skip
    _add_images_option(parser)
    splits = parser.add_mutually_exclusive_group()
    splits.add_argument(
        "--splits", type=Path, metavar="FILE",
        help="lines 'image<TAB>split'; val, dev and validation are stored as valid (default: all in one split)",
    )  # fmt: skip
    splits.add_argument("--subset", metavar="NAME", help="the split of all images, without --splits (default: train)")
    add_common_options(parser)
    parser.set_defaults(run=_run_tsv)


def _add_karpathy(commands: Any) -> None:
    parser = _add_command(
        commands, "karpathy", "Prepare Flickr8k, Flickr30k or COCO from their Karpathy-split JSON file.",
        "mvlm-prep karpathy --json dataset_flickr8k.json --images images --dest data/flickr8k",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, required=True, metavar="FILE",
        help="dataset_flickr8k.json or alike; restval becomes train, val becomes valid",
    )  # fmt: skip
    _add_images_option(parser)
    add_common_options(parser)
    parser.set_defaults(run=_run_karpathy)


def _add_verify(commands: Any) -> None:
    parser = _add_command(
        commands, "verify", "Read a whole data-bin again and print every problem; exit status 1 if there is any.",
        "mvlm-prep verify data/scenes",
    )  # fmt: skip
    parser.add_argument("databin", type=Path, metavar="DATABIN", help="folder that mvlm-prep wrote")
    add_workers_option(parser)
    parser.set_defaults(run=_run_verify)


def _add_images_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR",
        help="folder that the image paths are relative to; for images/x.jpg also the folder images itself",
    )  # fmt: skip


def _run_scenes(args: argparse.Namespace) -> int:
    return _report(args.dest, prepare_scenes(args.pairs, args.seed, args.image_size, options_of(args)))


def _run_tsv(args: argparse.Namespace) -> int:
    options = options_of(args)
    subset = canonical_split(args.subset or "train")
    if not is_split_name(subset):
        raise PrepError(f"--subset {subset!r}: only letters, digits, _ and - may be used")
    log = RejectionLog("line")
    records = read_tsv(args.captions, args.splits, subset, log)
    source = {"kind": "tsv", "subset": None if args.splits else subset}
    files = {"captions": args.captions} | ({"splits": args.splits} if args.splits else {})
    return _report(args.dest, prepare_files(records, args.images, source, files, log, options))


def _run_karpathy(args: argparse.Namespace) -> int:
    options = options_of(args)
    log = RejectionLog("record")
    records = read_karpathy(args.json, log)
    return _report(
        args.dest, prepare_files(records, args.images, {"kind": "karpathy"}, {"json": args.json}, log, options)
    )


def _run_verify(args: argparse.Namespace) -> int:
    if not args.databin.is_dir():
        raise PrepError(f"{args.databin} is not a folder; give a folder that mvlm-prep wrote")
    problems = verify_databin(args.databin, args.workers)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{args.databin}: {len(problems):,} problems; prepare it again")
        return 1
    for split, entry in read_manifest(args.databin)["splits"].items():
        print(f"  {split}: {entry['images']:,} images, {entry['captions']:,} captions")
    print(f"{args.databin} is sound")
    return 0


def _report(dest: Path, manifest: dict[str, Any] | None) -> int:
    """Print what was written; a manifest of None means that it was there before."""
    if manifest is None:
        print(f"{dest}: already prepared")
        return 0
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
    rejected = manifest["rejected"]
    if rejected["total"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejected["by_reason"].items())
        print(f"  rejected: {rejected['total']:,} ({reasons}); see {dest / REJECTED}")
    return 0


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run mvlm-prep.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit status: 0 done, 1 verify found problems, 2 an error that the last line on stderr explains, 130 interrupted.
    """
    args = build_parser().parse_args(argv)
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGTERM, _terminate) if in_main_thread else None
    try:
        return args.run(args)
    except (PrepError, DataBinError) as error:
        message = str(error)
    except OSError as error:
        message = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    except KeyboardInterrupt:
        print("mvlm-prep: interrupted, nothing was written", file=sys.stderr)
        return 130
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)
    print(f"mvlm-prep: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
