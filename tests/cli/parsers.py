"""Would a program take a command line? Asked of the programs' own parsers, without running anything."""

import argparse
import io
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from itertools import pairwise
from unittest import mock

from fairseq import options
from torch.distributed.run import get_args_parser

from tests.cli.commands import ROOT

# What documents write in place of a name of one's own.
STAND_INS = {"my_extension": "mvlm_plugin", "my_model": "mvlm_tiny", "D": "data-bin"}
# fairseq's parser adds the options of what these name.
FAIRSEQ_DEFAULTS = {
    "--task": "joint_masked_vl",
    "--arch": "mvlm_tiny",
    "--criterion": "joint_masked_vl",
    "--optimizer": "adamw_parts",
    "--lr-scheduler": "cosine",
}
PROGRAMS = re.compile(
    r"([A-Z_]+=\S+ +)*(mvlm-[a-z]+|fairseq-[a-z-]+|python3?|make|torchrun|bash|sbatch|srun|pip|mkdocs|\S+\.sh)( |$)"
)


class UnknownCommandError(ValueError):
    """A command line that its program would not take."""


class _Caught(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def _parser_of(program: Callable[[], object], *argv: str) -> argparse.ArgumentParser:
    """The parser that a program makes of its options, caught when it is first used."""

    def catch(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Caught(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", catch), mock.patch.object(sys, "argv", [*argv]):
        try:
            program()
        except _Caught as caught:
            return caught.parser
    raise UnknownCommandError(f"{argv} reads no options")


@cache
def console_parser(program: str) -> argparse.ArgumentParser:
    """The parser of one of our commands."""
    found = entry_points(group="console_scripts", name=program)
    if not found:
        raise UnknownCommandError(f"{program}: no such command")
    module, _, name = next(iter(found)).value.partition(":")
    # The command of mvlm-prep keeps the plugin out of its process, which is this one here.
    module = "data_prep.cli" if module == "data_prep.command" else module
    return _parser_of(getattr(import_module(module), name), program)


@cache
def script_parser(path: str) -> argparse.ArgumentParser:
    """The parser of a Python file of the repository."""
    if not (ROOT / path).is_file():
        raise UnknownCommandError(f"{path} does not exist")
    with mock.patch.object(sys, "path", [str((ROOT / path).parent), *sys.path]):
        return _parser_of(lambda: runpy.run_path(str(ROOT / path), run_name="__main__"), path)


@cache
def module_parser(name: str) -> argparse.ArgumentParser:
    """The parser of ``python -m NAME``."""
    return _parser_of(lambda: runpy.run_module(name, run_name="__main__"), name)


@cache
def fairseq_parser(program: str, chosen: tuple[tuple[str, str], ...] = ()) -> argparse.ArgumentParser:
    """The parser of a program of fairseq, with the options that what is chosen (task, architecture, ...) adds."""
    defaults = {**FAIRSEQ_DEFAULTS, **dict(chosen)}
    if program == "fairseq-validate":
        parser = options.get_validation_parser()
        del defaults["--arch"]
    else:
        parser = options.get_training_parser()
    words = [word for pair in defaults.items() for word in pair]
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            options.parse_args_and_arch(parser, ["data-bin", *words], parse_known=True)
    except (SystemExit, KeyError) as error:
        raise UnknownCommandError(f"{program} {' '.join(words)}: {errors.getvalue()[-500:]}") from error
    return parser


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's subcommands."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def option_names(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a parser and its subcommands."""
    return set(parser._option_string_actions).union(*map(option_names, subcommands(parser).values()))


def _check_words(parser: argparse.ArgumentParser, words: list[str], more: Iterable[str] = ()) -> None:
    """That subcommand, options and values of options with choices are known. Words in capitals stand for others."""
    commands, known, more = subcommands(parser), dict(parser._option_string_actions), set(more)
    if commands and words and not words[0].startswith("-") and not words[0].isupper():
        if words[0] not in commands:
            raise UnknownCommandError(f"{parser.prog} has no subcommand {words[0]!r}")
        known |= commands[words[0]]._option_string_actions
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name in more:
            continue
        if name not in known:
            raise UnknownCommandError(f"{parser.prog} has no option {name}")
        choices, value = known[name].choices, value if equals else " ".join(words[place + 1 : place + 2])
        if choices and not value.isupper() and value not in map(str, choices):
            raise UnknownCommandError(f"{parser.prog}: {value!r} is no choice of {name}")


def _check_fairseq(program: str, words: list[str]) -> None:
    words = [word for word in words if word != "..."]
    if not words:
        return
    if program == "fairseq-hydra-train":
        raise UnknownCommandError("recipes in YAML are run by tests/cli/test_extending.py and test_pretrain_recipes.py")
    if program not in ("fairseq-train", "fairseq-validate"):
        raise UnknownCommandError(f"{program}: not one of the programs that the plugin is for")
    given = dict(pairwise(words))
    chosen = tuple((name, given[name]) for name in FAIRSEQ_DEFAULTS if name in given)
    _check_words(fairseq_parser(program, chosen), words)


def _check_paths(paths: Iterable[str]) -> None:
    for path in paths:
        if "..." not in path and not (ROOT / path).exists():
            raise UnknownCommandError(f"{path} does not exist")


def _check_python(words: list[str]) -> None:
    if words[:2] == ["-m", "pytest"]:
        _check_paths(word for word in words[2:] if word.startswith("tests"))
    elif words[0] == "-m":
        _check_words(module_parser(words[1]), words[2:])
    elif words[0] == "-c":
        compile(words[1], "documented", "exec")
    else:
        _check_words(script_parser(words[0]), words[1:])


def _check_torchrun(words: list[str]) -> None:
    """torchrun's own options, then a module's."""
    split = words.index("-m") if "-m" in words else len(words)
    _check_words(get_args_parser(), words[:split])
    if words[split:]:
        _check_python(words[split:])


def _check_launcher(words: list[str]) -> None:
    """sbatch's options, a file of the repository, and what it starts."""
    script = next((place for place, word in enumerate(words) if not word.startswith("-")), None)
    if script is None:
        raise UnknownCommandError("sbatch without a file")
    _check_paths(words[script : script + 1])
    rest = words[script + 1 :]
    if rest[:1] == ["--smoke"]:
        _check_words(console_parser("mvlm-smoke"), rest[1:])
    else:
        _check_fairseq("fairseq-train", rest)


def _check_srun(words: list[str]) -> None:
    """srun's options are Slurm's own; then a command."""
    check(shlex.join(words[next(place for place, word in enumerate(words) if not word.startswith("-")) :]))


def _check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for word in words:
        if "=" not in word and word not in targets:
            raise UnknownCommandError(f"the Makefile has no target {word}")


def _check_pip(words: list[str]) -> None:
    with mock.patch("setuptools.setup") as setup, mock.patch.object(sys, "argv", ["setup.py"]):
        runpy.run_path(str(ROOT / "setup.py"))
    known = setup.call_args.kwargs["extras_require"]
    for extras in re.findall(r"mvlm-plugin\[([\w,-]+)\]", " ".join(words)):
        if unknown := set(extras.split(",")) - set(known):
            raise UnknownCommandError(f"setup.py has no extra {', '.join(unknown)}")


def check(line: str) -> None:
    """That there is such a program, and such options.

    Raises:
        UnknownCommandError: what it would not take.
    """
    value = re.fullmatch(r"[A-Z_]+=\$\((.*)\)", line)  # of a program that prints it
    words = [STAND_INS.get(word, word) for word in shlex.split(value[1] if value else line, comments=True)]
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program, *rest = words
    checks = {
        "python": _check_python,
        "make": _check_make,
        "pip": _check_pip,
        "sbatch": _check_launcher,
        "srun": _check_srun,
        "torchrun": _check_torchrun,
    }
    if program == "mvlm-plan":  # takes options of the training, too
        _check_words(console_parser(program), rest, option_names(fairseq_parser("fairseq-train")))
    elif program.startswith("mvlm-"):
        _check_words(console_parser(program), rest)
    elif program.startswith("fairseq-"):
        _check_fairseq(program, rest)
    elif program in checks:
        if rest:
            checks[program](rest)
    elif program.endswith("torchrun.sh"):
        _check_launcher(words)
    elif program == "bash" or program.endswith(".sh"):
        _check_paths(words[1:2] if program == "bash" else [program])
    else:
        raise UnknownCommandError(f"{program}: not a program that these tests know")


def all_parsers() -> list[argparse.ArgumentParser]:
    """The parsers of all programs that documents speak of."""
    ours = [script for script in entry_points(group="console_scripts") if script.name.startswith("mvlm-")]
    tasks = {
        "joint_masked_vl": "joint_masked_vl",
        "vl_retrieval": "vl_retrieval",
        "vl_vqa": "vl_classification",
        "vl_nlvr2": "vl_classification",
        "vl_entailment": "vl_classification",
    }
    trainings = [
        fairseq_parser("fairseq-train", (("--task", task), ("--criterion", name))) for task, name in tasks.items()
    ]
    scripts = [path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmarks").glob("*.py")]
    with_options = [path for path in scripts if "ArgumentParser" in (ROOT / path).read_text()]
    return [
        *(console_parser(script.name) for script in ours),
        *trainings,
        fairseq_parser("fairseq-validate"),
        get_args_parser(),
        *map(script_parser, with_options),
        *map(module_parser, ("mvlm_plugin.options", "mvlm_plugin.list", "tests.soak.kills", "examples.study")),
    ]
