"""Commands of the documentation, made small enough for tests."""

import os
import re
import shlex
from pathlib import Path

from tests.cli.commands import BIN, run

# What makes a documented command small enough for a test.
SMALLER = {"--max-update": "2", "--batch-size": "8", "--warmup-updates": "1", "--pairs": "80", "--vocab-size": "200"}
PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"


def documented_commands(document: Path, language: str = "bash") -> list[str]:
    """The command lines of a document's bash blocks, continued lines joined, comments and make targets left out.

    Blocks of ``sh`` are lines that are too long to be run by tests.
    """
    blocks = re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (line.split("  #")[0].strip() for line in lines) if line and not line.startswith("make ")]


def smaller(line: str) -> str:
    """The command with the numbers of SMALLER."""
    words = shlex.split(line, posix=False)
    for position, word in enumerate(words[:-1]):
        words[position + 1] = SMALLER.get(word, words[position + 1])
    return " ".join(words)


def in_folder(folder: Path, line: str) -> str:
    """Run a shell command line there."""
    script = f"cd {shlex.quote(str(folder))} && {line}"
    return run(["bash", "-euo", "pipefail", "-c", script], PATH=PATH, UPDATES="2", PAIRS="160")
