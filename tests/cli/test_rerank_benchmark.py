"""The benchmark of re-ranking runs to its end and counts what it does."""

import json
import sys
from pathlib import Path

from tests.cli.commands import run


def test_rerank_benchmark(tmp_path: Path) -> None:
    options = ["--arch", "mvlm_tiny", "--images", 12, "--texts-per-image", 2, "--top-k", 5, "--seconds", 0]
    run(
        [
            sys.executable,
            "benchmarks/rerank.py",
            *map(str, options),
            "--device",
            "cpu",
            "--json",
            str(tmp_path / "a.json"),
        ]
    )
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["captions"] == 24
    assert 24 * 5 <= result["pairs"] == result["matched"] <= (24 + 12) * 5
    assert result["peak_host_mib"] > result["features_mib"] > 0
