"""The command lines of all studies, read by fairseq's own parser."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from fairseq import options

import mvlm_plugin  # noqa: F401  (registers tasks and architectures)
from examples.study import patch_colours
from examples.study.__main__ import main
from examples.study.arms import arms_of, mean_over
from examples.study.commands import Places, finetuning, measuring, pretraining, words
from examples.study.csv_files import DIFFERENCE_COLUMNS, RUN_COLUMNS, read_csv
from examples.study.grid import Arm, Run, runs_of
from examples.study.measure import _parser
from examples.study.settings import LINEAR, names, read_settings, settings_path
from tests.cli.documents import blocks
from tests.study.studies import one_run

README = "examples/study/README.md"
RUNS = Path("examples/study/results/flickr8k_lite.csv")
DIFFERENCES = Path("examples/study/results/flickr8k_lite.differences.csv")
FIGURES = Path("examples/study/results/patch_colours.json")


def _documented(start: str) -> list[str]:
    """The README's commands that begin so."""
    return [line for block in blocks(README) for line in block.commands if line.startswith(start)]


def _parsed(command: list[str]) -> object:
    return options.parse_args_and_arch(options.get_training_parser(), command[1:])


def _kinds(study: str) -> list[Run]:
    """A run of each combination of losses and variant, on a part of the data."""
    runs = {(run.losses, run.variant): run for run in runs_of(read_settings(settings_path(study)))}
    return [replace(run, fraction=0.25) for run in runs.values()]


@pytest.mark.parametrize("study", names())
def test_fairseq_reads_the_commands_of_every_study(study: str) -> None:
    places = Places("data", "other", Path("folder"))
    for run in _kinds(study):
        if run.losses != "linear":
            read = vars(_parsed(pretraining(run, places, 7)))
            assert (read["max_update"], read["data_fraction"], read["fraction_seed"]) == (7, 0.25, run.seed)
            assert {name: read[f"{name}_weight"] for name in run.weights} == run.weights
            assert sum(read[f"{name}_weight"] > 0 for name in ("itc", "itm", "mlm", "mim")) == len(run.weights)
            assert read["arch"] == run.train["arch"]
        if run.finetune:
            read = vars(_parsed(finetuning(run, places)))
            assert read["finetune_from_model"] == "folder/pretrain/checkpoint_last.pt"
            assert (read["task"], read["data"], read["data_fraction"]) == ("vl_retrieval", "other", 1.0)
            _parser().parse_args(measuring(run, places, True, Path("out"))[3:])
        _parser().parse_args(measuring(run, places, False, Path("out"))[3:])


def test_a_share_of_the_data_is_fine_tuned_on_too(tmp_path: Path) -> None:
    run = one_run(tmp_path, finetune=True, seed=[3])
    read = vars(_parsed(finetuning(run, Places("same", "same", tmp_path))))
    assert (read["data_fraction"], read["fraction_seed"], read["seed"]) == (0.25, 3, 3)


def test_what_was_trained_is_what_is_measured(tmp_path: Path) -> None:
    places = Places("data", "data", tmp_path)
    run = one_run(tmp_path, losses=["itc"], finetune=True)
    for is_finetuned, expected in ((False, "itc"), (True, "itc,itm")):
        command = measuring(run, places, is_finetuned, tmp_path / "out")
        assert command[command.index("--objectives") + 1] == expected
    assert "--probe-fraction" not in measuring(run, places, True, tmp_path / "out")


def test_options_become_words() -> None:
    options = {"lr": 1e-3, "cpu": True, "fp16": False, "x": None, "betas": "(0.9, 0.98)"}
    assert words(options) == ["--lr", "0.001", "--cpu", "--betas", "(0.9, 0.98)"]


def test_documented_lines_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _documented("python -m examples.study ")
    assert len(lines) >= 8
    seen = []
    for name in ("run", "report", "list"):
        monkeypatch.setitem(main.__globals__["_COMMANDS"], name, lambda arguments: seen.append(arguments) or 0)
    assert all(main(shlex.split(line)[3:]) == 0 for line in lines)
    assert {arguments.command for arguments in seen} == {"run", "report", "list"}


def test_the_documented_line_of_the_plain_predictors_is_read() -> None:
    (line,) = _documented("python -m examples.study.patch_colours")
    read = patch_colours._parser().parse_args(shlex.split(line)[3:])
    assert (read.data, read.seeds) == ("data-bin/flickr8k", len(json.loads(FIGURES.read_text())["seeds"]))


def test_the_readme_quotes_the_plain_predictors_as_measured() -> None:
    text = Path(README).read_text()
    for name, value in json.loads(FIGURES.read_text())["mean"].items():
        assert f"| {name} | {value:.3f} |" in text


def test_the_readmes_quote_the_differences_as_measured() -> None:
    """The rows of the four losses against ITC + ITM, and the same figures on the front page."""
    titles = {"zs_itc": "zero-shot, ITC", "zs_itm_itc": "zero-shot, ITM + ITC", "probe": "linear probe of the encoders"}
    titles |= {"ft_itm_itc": "fine-tuned matching, ITM + ITC"}
    table, front = Path(README).read_text().replace("*", ""), Path("README.md").read_text()
    quoted = 0
    for row in read_csv(DIFFERENCES, DIFFERENCE_COLUMNS):
        pair = (row["losses"], row["against"], row["against_budget"])
        if pair != ("all", "itc_itm", "updates") or row["fraction"] not in ("0.1", "0.25"):
            continue
        value = f"{float(row['difference']):+.1f}".replace("-", "\N{MINUS SIGN}")
        errors = f"{float(row['se_seeds']):.1f} | {float(row['se_queries']):.1f} |"
        sums, found = r"\| [\d.]+ \| [\d.]+ \| ", re.escape(f"{value} | {errors}")
        assert re.search(re.escape(titles[row["score"]]) + " " + sums + found, table)
        assert row["score"] == "probe" or f"{value} ± {float(row['se_seeds']):.1f}" in front
        quoted += 1
    assert quoted == 7


def test_the_readme_quotes_the_linear_baseline_beside_the_losses_as_measured() -> None:
    arms = arms_of(read_csv(RUNS, RUN_COLUMNS))
    columns = [(LINEAR, "default", "updates"), (LINEAR, "pixels-192", "updates")]
    columns += [("itc_itm", "default", "updates"), ("all", "default", "updates")]
    columns += [("itc", "default", "compute"), ("itc_itm", "default", "compute")]
    lines = Path(README).read_text().splitlines()
    for share in (0.1, 0.25, 0.5, 1.0):
        found = [arms.get(Arm(losses, share, variant, budget), []) for losses, variant, budget in columns]
        cells = [mean_over(rows, "zs_itc_sum").text() for rows in found]
        (line,) = [line for line in lines if line.startswith(f"| {share:.0%} (".replace("%", " %")) and "±" in line]
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == cells
