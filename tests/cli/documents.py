"""The documents, their blocks of code, and running them, made small enough for tests."""

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from tests.cli.commands import ROOT, run, shell_path

# What makes a documented command small enough for a test.
SMALLER = {"--max-update": "2", "--batch-size": "8", "--warmup-updates": "1", "--pairs": "80", "--vocab-size": "200"}

_PATTERNS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/*/README.md", "benchmarks/*.md")
DOCUMENTS = sorted({path.relative_to(ROOT).as_posix() for pattern in _PATTERNS for path in ROOT.glob(pattern)})
# Each of these is run by a test of its own, which takes its name from here; all others by tests/cli/test_examples.py.
DATA_GUIDE = "docs/data.md"
PYTHON_GUIDE = "docs/python.md"
DOWNSTREAM_GUIDE = "docs/downstream.md"
GROUNDING, ZERO_SHOT = "examples/grounding/README.md", "examples/zero_shot/README.md"
PRETRAINED = "examples/flickr8k_lite/README.md"
# Recipes that start from what it leaves.
RECIPES_ON_PRETRAINED = ("retrieval", "vqa", "nlvr2", "entailment")
ELSEWHERE = {
    DATA_GUIDE,
    PYTHON_GUIDE,
    DOWNSTREAM_GUIDE,
    "README.md",
    GROUNDING,
    ZERO_SHOT,
    PRETRAINED,
    *(f"examples/{name}/README.md" for name in RECIPES_ON_PRETRAINED),
}

# Blocks that no test runs, by their first line; tests/cli/test_documents.py asks the programs' parsers about them.
NOT_RUN = {
    ("docs/training.md", "# the GPUs of one machine: fairseq starts a process for each"): "needs GPUs or Slurm",
    ("docs/training.md", "mvlm-smoke --processes 8 --save-dir checkpoints --data data-bin/mine"): "needs GPUs or Slurm",
    (
        "examples/demo/README.md",
        "mvlm-demo --path runs/quickstart/checkpoints/checkpoint_last.pt --data runs/quickstart/data-bin --subset test",
    ): "serves until it is stopped: tests/demo",
    **{
        ("examples/study/README.md", line): "takes hours: tests/study runs a small study"
        for line in (
            "# every run that is missing",
            "# of what is done so far",
            "# the vocabulary of MiniLM for the one, an own one for the other",
            "# a part of it",
            "# plain predictors, 10 minutes",
        )
    },
}


class Block(NamedTuple):
    """A fenced block of code."""

    document: str
    line: int  # of its first line of code
    language: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """What NOT_RUN calls it."""
        return self.document, self.text.partition("\n")[0].strip()

    @property
    def commands(self) -> list[str]:
        """Command lines, continued lines joined, comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"(^|\s\s)#.*", "", line).strip() for line in lines) if line]


def read(document: str) -> str:
    """The text of a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text = read(document)
    found = re.finditer(r"^( *)```(.*)\n((?s:.*?))^\1```", text, flags=re.MULTILINE)
    return [
        Block(
            document, text.count("\n", 0, match.start()) + 2, match[2].strip(), match[3].replace(f"\n{match[1]}", "\n")
        )
        for match in found
    ]


def is_make(command: str) -> bool:
    """Whether a command calls make, which installs: tests ask only whether there is such a target."""
    return command.startswith("make ")


def documented_commands(document: str) -> list[str]:
    """The command lines of a document that tests run."""
    run = [block for block in blocks(document) if block.language == "bash" and block.key not in NOT_RUN]
    return [line for block in run for line in block.commands if not is_make(line)]


def smaller(line: str) -> str:
    """The command with the numbers of SMALLER."""
    words = shlex.split(line, posix=False)
    for position, word in enumerate(words[:-1]):
        words[position + 1] = SMALLER.get(word, words[position + 1])
    return " ".join(words)


def in_folder(folder: Path, line: str) -> str:
    """Run a shell command line there."""
    script = f"cd {shlex.quote(str(folder))} && {line}"
    return run(["bash", "-euo", "pipefail", "-c", script], PATH=shell_path(), UPDATES="2", PAIRS="160")


def run_document(document: str, folder: Path) -> str:
    """Run a document's commands, made smaller, and then its Python; returns what the Python printed."""
    for line in documented_commands(document):
        in_folder(folder, smaller(line))
    return run_python(document, folder)


def run_python(document: str, folder: Path) -> str:
    """Run a document's Python as one program; returns what it printed."""
    program = "\n".join(block.text for block in blocks(document) if block.language == "python")
    if not program:
        return ""
    (folder / "documented.py").write_text(program)
    return run(["bash", "-c", f"cd {shlex.quote(str(folder))} && {sys.executable} documented.py"], PYTHONPATH=str(ROOT))
