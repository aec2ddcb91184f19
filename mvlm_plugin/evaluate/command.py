"""The command line of mvlm-eval."""

import argparse
import importlib
import json
import logging
import sys

import mvlm_plugin  # noqa: F401  (registers what the checkpoint names)

from ..data.databin import DataBinError
from .base import EvalCommand, Report, add_common_options, write_whole

# Modules of this package, each with a COMMAND.
SUBCOMMANDS: tuple[str, ...] = ("retrieval", "vqa", "nlvr2", "entailment", "grounding", "zero_shot")


def _commands() -> list[EvalCommand]:
    return [importlib.import_module(f"{__package__}.{name}").COMMAND for name in SUBCOMMANDS]


def _parser(commands: list[EvalCommand]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvlm-eval",
        description="Evaluate a checkpoint on a downstream task. Figures are always printed with their protocol.",
        epilog="each command has its own help with an example, such as: mvlm-eval retrieval --help",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        sub = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common_options(sub, command.needs_path)
        command.add_options(sub)
        sub.set_defaults(run=command.run)
    return parser


def _show(report: Report) -> str:
    protocol = [f"  {name.replace('_', ' '):24}{value}" for name, value in report.protocol.items()]
    return "\n".join(["protocol", *protocol, "", report.text])


def main(argv: list[str] | None = None) -> int:
    """Entry point of mvlm-eval. Returns the exit code."""
    arguments = _parser(_commands()).parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    if arguments.batch_size < 1:
        print("mvlm-eval: error: --batch-size must be at least 1", file=sys.stderr)
        return 2
    try:
        report = arguments.run(arguments)
        if arguments.json:
            content = {"protocol": dict(report.protocol), **report.figures}
            write_whole(arguments.json, json.dumps(content, indent=2) + "\n")
    except (OSError, ValueError, ImportError, DataBinError) as error:
        print(f"mvlm-eval: error: {error}", file=sys.stderr)
        return 2
    print(_show(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
