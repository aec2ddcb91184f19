"""Reads a source through its command's options, as mvlm-prep does, without preparing it."""

import argparse
import pickle
import shlex
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reading_helpers import read_all

from data_prep.records import Row, Sample
from data_prep.sources.base import Source, SourceCommand, TableSource


def build(command: SourceCommand, *arguments: object) -> Source:
    """The source that some arguments ask for."""
    parser = argparse.ArgumentParser(command.name, allow_abbrev=False)
    command.add_options(parser)
    return command.build(parser.parse_args([str(argument) for argument in arguments]))


def rows(command: SourceCommand, folder: Path, *arguments: object) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of a table source, and what it lists as dropped, with the position as "position"."""
    source = build(command, *arguments)
    assert isinstance(source, TableSource)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return read_all(lambda log: source.read(log, scratch), folder)


def pickled_rows(command: SourceCommand, folder: Path, *arguments: object) -> tuple[list[Row], list[dict[str, Any]]]:
    """As rows(), of photos in the folder, from a source that went to another process and back."""
    source = pickle.loads(pickle.dumps(build(command, "--images", folder, *arguments)))
    assert isinstance(source, TableSource)
    return read_all(lambda log: source.read(log, folder), folder)


def samples(command: SourceCommand, folder: Path, *arguments: object) -> tuple[list[Sample], list[dict[str, Any]]]:
    """Samples of every archive of a source, and what it lists as dropped."""
    source = build(command, *arguments)
    assert not isinstance(source, TableSource)
    read: Callable[..., Any] = source.read
    return read_all(
        lambda log: (sample for split, path in source.archives for sample in read(path, split, log)), folder
    )


def check_example(command: SourceCommand) -> None:
    """The example that --help shows is one that the command accepts."""
    program, name, *arguments = shlex.split(command.example)
    assert (program, name) == ("mvlm-prep", command.name)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_options(parser)
    parser.add_argument("--dest", required=True)
    parser.parse_args(arguments)


def peak_memory(run: Callable[[], object]) -> int:
    """Bytes that Python held at most while something ran."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
