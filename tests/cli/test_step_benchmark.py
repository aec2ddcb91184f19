"""benchmarks/step.py prints a table and writes the figures that the README quotes."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.commands import run

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "step.py"
SMALLEST = ["--size", "tiny", "--batch", "2", "--rounds", "1", "--steps", "1", "--threads", "1"]


def test_rows_have_speed_work_and_memory(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, PROGRAM, *SMALLEST, "--only", "ours", "flava", "--json", tmp_path / "step.json"]
    printed = run([*map(str, command)])
    result = json.loads((tmp_path / "step.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["ours", "flava"]
    for row in result["rows"]:
        assert row.keys() == {"name", "pairs_per_s", "gflop_per_pair", "peak_fraction", "peak_mib"}
        (found,) = result["all_rounds"][row["name"]]
        (seconds,), (peak,) = found["seconds"], found["peaks"]
        assert row["pairs_per_s"] == pytest.approx(2 / seconds)
        assert row["peak_fraction"] == pytest.approx(row["pairs_per_s"] * row["gflop_per_pair"] / peak)
        assert 0.5 < row["gflop_per_pair"] < 3
        assert 100 < row["peak_mib"] < 10000
    assert {"image encoder", "fusion: ITM", "image decoder", "optimizer"} <= result["parts"].keys()
    assert sum(result["parts"].values()) == pytest.approx(1.0)
    assert "x flava" in printed
    assert "image encoder" in printed
