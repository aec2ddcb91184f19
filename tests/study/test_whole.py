"""One real grid on generated scenes, from training to the page."""

import csv
import json
import sys
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.study.studies import SMALL, write_study


def _study(*arguments: object, expect: int = 0) -> str:
    return run([sys.executable, "-m", "examples.study", *map(str, arguments)], expect=expect)


def test_a_grid_is_run_resumed_and_reported(scenes: Path, tmp_path: Path) -> None:
    blocks = [{"losses": ["all"], "fraction": [0.5], "seed": [1], "finetune": True}]
    blocks += [{"losses": ["linear"], "fraction": [0.5], "seed": [1]}]
    path = write_study(tmp_path / "tiny.yaml", runs=blocks, measure={**SMALL["measure"], "probe-fraction": 0.2})
    places = ["--data", scenes, "--out", tmp_path / "runs"]
    assert "2 runs, 2 to make" in _study("run", path, *places)
    results = sorted((tmp_path / "runs" / "tiny").glob("*/result.json"))
    assert len(results) == 2
    before = {result: result.stat().st_mtime_ns for result in results}
    trained = next(read for result in results if (read := json.loads(result.read_text()))["run"]["losses"] == "all")
    assert {"itc", "itm", "itm_itc", "probe", "gains"} == set(trained["zero_shot"])
    assert {"itc", "itm", "itm_itc"} == set(trained["finetuned"])
    assert trained["zero_shot"]["gains"]["mlm_loss"] > 0

    assert "2 runs, 0 to make" in _study("run", path, *places)
    assert {result: result.stat().st_mtime_ns for result in results} == before

    _study("report", path, *places, "--results", tmp_path / "results")
    with (tmp_path / "results" / "tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["losses"] for row in rows] == ["all", "linear"]
    recalls = [float(rows[0][f"zs_itc_{way}_r{k}"]) for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert float(rows[0]["zs_itc_sum"]) == pytest.approx(sum(recalls), abs=0.01)
    assert float(rows[1]["zs_itc_sum"]) > 0
    assert (tmp_path / "results" / "tiny.html").exists()


def test_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    path = write_study(tmp_path / "tiny.yaml")
    output = _study("run", path, "--data", tmp_path / "nothing", expect=2)
    assert "nothing" in output
    assert "Traceback" not in output
