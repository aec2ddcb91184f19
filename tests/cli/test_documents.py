"""Every command that a document shows is run by a test, or its program's own parser would take it."""

import re
from collections.abc import Iterator

import pytest

from tests.cli import parsers
from tests.cli.commands import ROOT
from tests.cli.documents import DOCUMENTS, ELSEWHERE, NOT_RUN, Block, blocks, is_make, read
from tests.cli.parsers import PROGRAMS, UnknownCommandError, check

# How blocks may be marked: bash and python are run; text shows what is printed; math is a formula.
LANGUAGES = ("bash", "python", "text", "math")
ALL = [block for document in DOCUMENTS for block in blocks(document)]
# Options that a text speaks of and that are Slurm's or tar's.
FOREIGN_OPTIONS = {"--ntasks-per-node", "--gpus-per-task", "--gpus-per-node", "--sort"}
FIRST_FOLDERS = ("benchmarks", "data_prep", "docs", "examples", "mvlm_plugin", "requirements", "tests")


def _spans(document: str) -> Iterator[str]:
    """Code within lines, and lines of blocks that are made by indenting."""
    text = re.sub(r"^( *)```.*\n(?s:.*?)^\1```", "", read(document), flags=re.MULTILINE)
    yield from (re.sub(r"\s+", " ", span).replace("\\|", "|") for span in re.findall(r"`([^`]+)`", text))
    yield from re.findall(r"(?<=\n\n) {4}(\S.*)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("block", ALL, ids=[f"{block.document}:{block.line}" for block in ALL])
def test_a_block_is_run_or_shows_no_command(block: Block) -> None:
    assert block.language in LANGUAGES, f"mark it as one of {LANGUAGES}"
    if block.language == "text":
        assert not [line for line in block.text.splitlines() if PROGRAMS.match(line.strip())], "commands are bash"


def test_what_is_not_run_is_there_and_no_more() -> None:
    assert NOT_RUN.keys() <= {block.key for block in ALL if block.language == "bash"}
    assert all(NOT_RUN.values())
    assert set(DOCUMENTS) >= ELSEWHERE


def _unrun() -> list[tuple[str, str]]:
    """Commands of the documents that no test runs, with where they stand."""
    found = []
    for block in ALL:
        if block.language == "bash":
            found += [(block.document, line) for line in block.commands if block.key in NOT_RUN or is_make(line)]
    found += [(document, span) for document in DOCUMENTS for span in _spans(document) if PROGRAMS.match(span)]
    return sorted(set(found))


@pytest.mark.parametrize(("document", "line"), _unrun())
def test_a_command_that_is_not_run_would_be_taken(document: str, line: str) -> None:
    check(line)


def test_every_option_that_a_text_names_exists() -> None:
    known = set(FOREIGN_OPTIONS).union(*map(parsers.option_names, parsers.all_parsers()))
    named = {
        (document, option)
        for document in DOCUMENTS
        for span in _spans(document)
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*\w", span)
    }
    assert len(named) > 100
    assert {option for _, option in named} >= FOREIGN_OPTIONS
    assert not sorted(place for place in named if place[1] not in known)


def test_every_path_of_the_repository_that_a_text_names_exists() -> None:
    pattern = rf"(?:{'|'.join(FIRST_FOLDERS)})/[\w./-]*\w/?"
    named = {(document, span) for document in DOCUMENTS for span in _spans(document) if re.fullmatch(pattern, span)}
    assert len(named) > 30
    assert not sorted((document, path) for document, path in named if not (ROOT / path).exists())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mvlm-cook --help", "no such command"),
        ("mvlm-prep xml --json a", "no subcommand 'xml'"),
        ("mvlm-prep tsv --jason a", "no option --jason"),
        ("mvlm-eval zero-shot --score clip", "'clip' is no choice of --score"),
        ("fairseq-train data-bin/mine --arch mvlm_tiny --image-maks-ratio 0.5", "no option --image-maks-ratio"),
        ("fairseq-train data-bin/mine --arch mvlm_huge", "mvlm_huge"),
        ("fairseq-validate data-bin/mine --valid-subsets test", "no option --valid-subsets"),
        ("NPROC=2 examples/pretrain/launch/torchrun.sh data-bin/mine --cpus", "no option --cpus"),
        ("sbatch --nodes=8 examples/pretrain/launch/slurm.sbatch --smoke --data-bin x", "no option --data-bin"),
        ("torchrun --nprocs 2 -m mvlm_plugin.smoke", "no option --nprocs"),
        ("torchrun -m mvlm_plugin.smoke --save x", "no option --save"),
        ("python -m mvlm_plugin.list --architecture x", "no option --architecture"),
        ("python benchmarks/stride.py", "benchmarks/stride.py does not exist"),
        ("python benchmarks/step.py --size huge", "'huge' is no choice of --size"),
        ("python -m pytest tests/cli/test_nothing.py", "test_nothing.py does not exist"),
        ("bash examples/quickstart/runs.sh", "runs.sh does not exist"),
        ("make quickstarts", "no target quickstarts"),
        ("pip install 'mvlm-plugin[light]'", "no extra light"),
        ("rm -r data-bin", "not a program"),
    ],
)
def test_what_would_not_be_taken_is_found(line: str, problem: str) -> None:
    with pytest.raises(UnknownCommandError, match=re.escape(problem)):
        check(line)
