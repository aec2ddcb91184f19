"""Checkpoints that try to run code, each in a form of its own."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class _Trap:
    """Unpickled, it calls ``function(argument)``."""

    def __init__(self, function: Callable[[str], Any], argument: str) -> None:
        self.function = function
        self.argument = argument

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return self.function, (self.argument,)


def command_trap(mark: Path) -> _Trap:
    """Runs a shell command that makes the file ``mark``."""
    return _Trap(os.system, f"touch {mark}")


def allowed_module_trap(mark: Path) -> _Trap:
    """Makes the file with a class of a module of which another class is allowed in checkpoints."""
    return _Trap(argparse.FileType("w"), str(mark))


def _at_top(content: dict[str, Any], trap: _Trap) -> dict[str, Any]:
    return {"trap": trap, **content}


def _in_optimizer_state(content: dict[str, Any], trap: _Trap) -> dict[str, Any]:
    return {**content, "last_optimizer_state": {"state": {0: {"exp_avg": [trap]}}, "param_groups": []}}


def _in_namespace(content: dict[str, Any], trap: _Trap) -> dict[str, Any]:
    return {**content, "args": argparse.Namespace(arch=trap)}


Form = tuple[Callable[[Path], _Trap], Callable[[dict[str, Any], _Trap], dict[str, Any]], bool]
# Which trap, where it lies, and whether the file has the format of torch before 1.6.
FORMS: dict[str, Form] = {
    "command": (command_trap, _at_top, False),
    "command in a legacy file": (command_trap, _at_top, True),
    "allowed module": (allowed_module_trap, _at_top, False),
    "optimizer state": (command_trap, _in_optimizer_state, False),
    "inside an allowed class": (command_trap, _in_namespace, True),
}


def write_trap(path: Path, content: dict[str, Any], form: str, mark: Path) -> Path:
    """A checkpoint's content with a trap in it, which makes the file ``mark`` where it is sprung."""
    trap, place, legacy = FORMS[form]
    torch.save(place(content, trap(mark)), path, _use_new_zipfile_serialization=not legacy)
    return path
