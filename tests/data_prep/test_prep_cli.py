"""Help that teaches, and errors that are one line with the fix."""

import argparse
import re
import shlex
from pathlib import Path

import pytest
from prep_helpers import Source

from data_prep.captions import clean_caption
from data_prep.cli import build_parser, main
from data_prep.parallel import ordered_map

PARSERS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.mark.parametrize("command", [None, *PARSERS])
def test_help_has_an_example_that_parses(command: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*([command] if command else []), "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^ *(mvlm-prep (?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        args = build_parser().parse_args(shlex.split(example)[1:])
        assert command in (None, args.command)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert {"scenes", "tsv", "webdataset", "merge", "verify"} <= PARSERS.keys()
    assert [command for command in PARSERS if not re.search(rf"^    {command}\s", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["scenes"],
        ["nothing"],
        ["scenes", "--pairs", "7", "--dest", "d"],
        ["scenes", "--pairs", "8", "--dest", "d", "--image-size", "5000"],
        ["scenes", "--pairs", "200000", "--dest", "d"],
        ["tsv", "--captions", "none.tsv", "--images", ".", "--dest", "d"],
        ["tsv", "--captions", ".", "--images", ".", "--dest", "d"],
        ["tsv", "--captions", "none.tsv", "--images", ".", "--dest", "d", "--subset", "../x"],
        ["karpathy", "--json", "none.json", "--images", ".", "--dest", "d"],
        ["verify", "none"],
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err
    assert error.startswith("mvlm-prep: error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_images_folder_names_the_option(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*source.write(), "--images", "nowhere", "--dest", str(source.folder / "bin")]) == 2
    assert "--images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a\tdog \n", "a dog"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\x00b\x85c", "a b c"),
        ("A Dog , RUNS .", "A Dog , RUNS ."),
        ("\u200b\u2060", ""),
        ("\ud800", ""),
        ("a\u00a0\u3000b\u2028c", "a b c"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("", ""),
    ],
)
def test_captions_are_cleaned(raw: str, clean: str) -> None:
    assert clean_caption(raw) == clean


def test_ordered_map_keeps_order_and_reads_ahead_only_a_little() -> None:
    taken = 0

    def numbers() -> object:
        nonlocal taken
        for number in range(-5000, 0):
            taken += 1
            yield number

    results = ordered_map(abs, numbers(), workers=2)
    assert [next(results) for _ in range(3)] == [5000, 4999, 4998]
    assert taken < 500
    assert list(results) == [abs(number) for number in range(-4997, 0)]
