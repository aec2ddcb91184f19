"""The ``mvlm-prep`` command."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from mvlm_plugin.data.databin import DataBinError

from . import merging
from .exclusion import missing_exclusion_warning
from .inspection import overlap, relink, show, stats, verify
from .options import (
    add_source_options,
    add_write_options,
    image_side,
    pairs_count,
    seed,
    source_options_of,
    write_options_of,
)
from .prepare import prepare
from .records import PrepError
from .report import report
from .scenes.source import prepare_scenes
from .sources import COMMANDS
from .sources.base import SourceCommand
from .tools import Tool
from .work import TRAIN

_TOOLS: list[Tool] = [merging.TOOL, verify.TOOL, stats.TOOL, show.TOOL, overlap.TOOL, relink.TOOL]
_DESCRIPTION = """Turn images and captions into a data-bin: the folder that fairseq training with mvlm-plugin reads.

example:
  mvlm-prep tsv --captions captions.tsv --splits splits.tsv --images images --dest data/my-set"""
_EPILOG = """each command has its own help with an example, such as: mvlm-prep scenes --help
Bad records never stop a run: they are dropped, counted, and listed with their reasons in DEST/rejected.jsonl.
A run that was killed goes on where it was when the same command is given again. Files may be local or URLs that
fsspec has a driver for, such as s3://bucket/captions.tsv."""
# Sources whose images are in many evaluation sets.
_EVALUATED = {"coco": "COCO", "visual-genome": "Visual Genome"}


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
    for source in COMMANDS:
        _add_source(commands, source)
    for tool in _TOOLS:
        subparser = _add_command(commands, tool.name, tool.summary, tool.example)
        tool.add_options(subparser)
        subparser.set_defaults(run=tool.run)
    return parser


def _add_command(commands: Any, name: str, summary: str, example: str) -> argparse.ArgumentParser:
    # argparse formats the help of a subcommand with %, but not its description.
    return commands.add_parser(
        name, help=summary.replace("%", "%%"), description=summary, epilog=f"example:\n  {example}",
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
    add_write_options(parser)
    parser.set_defaults(run=_run_scenes)


def _add_source(commands: Any, source: SourceCommand) -> None:
    parser = _add_command(commands, source.name, source.summary, source.example)
    source.add_options(parser)
    add_source_options(parser)
    parser.set_defaults(run=_run_source, source=source)


def _run_scenes(args: argparse.Namespace) -> int:
    options = write_options_of(args)
    return report(options, prepare_scenes(args.pairs, args.seed, args.image_size, options))


def _run_source(args: argparse.Namespace) -> int:
    options = source_options_of(args)
    source = args.source.build(args)
    manifest = prepare(source, options)
    status = report(options, manifest)
    if source.kind in _EVALUATED and not options.exclude and (manifest is None or TRAIN in manifest["splits"]):
        print(f"mvlm-prep: warning: {missing_exclusion_warning(_EVALUATED[source.kind])}", file=sys.stderr)
    return status


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
        print("mvlm-prep: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, previous)
    print(f"mvlm-prep: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
