"""examples/blind_gap.py: paired differences of two runs on the same texts."""

import math
import sys
from pathlib import Path

import pytest

from tests.cli.commands import run

PROGRAM = [sys.executable, "examples/blind_gap.py"]


def write(folder: Path, rows: list[tuple[int, int, float]]) -> None:
    folder.mkdir(parents=True)
    lines = "".join(f"{text},{cluster},{score}\n" for text, cluster, score in rows)
    (folder / "judgements.csv").write_text("text,cluster,score\n" + lines)


def test_gaps_are_paired_and_texts_of_a_cluster_count_together(tmp_path: Path) -> None:
    write(tmp_path / "fold1", [(0, 0, 1), (1, 0, 1), (2, 5, 0), (3, 6, 1)])
    write(tmp_path / "fold1-blind", [(3, 9, 1), (1, 9, 0), (0, 9, 0), (2, 9, 0)])
    printed = run([*PROGRAM, str(tmp_path)])
    # Differences 1, 1, 0, 0 about their mean 0.5; sums of the three clusters: 1, -0.5, -0.5.
    error = 100 * math.sqrt(1.5 * 3 / 2) / 4
    assert printed.splitlines()[1].split() == ["fold1", "4", "75.0", "25.0", "+50.0", "±", f"{error:.1f}"]
    assert f"mean gap +50.00, standard error from the texts {error:.2f}" in printed


@pytest.mark.parametrize(
    ("texts", "status", "message"), [((0, 1), 1, "judged on different texts"), ((), 2, "has no pair")]
)
def test_what_cannot_be_compared_is_told(tmp_path: Path, texts: tuple[int, ...], status: int, message: str) -> None:
    write(tmp_path / "fold1", [(0, 0, 1)])
    if texts:
        write(tmp_path / "fold1-blind", [(text, 0, 1) for text in texts])
    assert message in run([*PROGRAM, str(tmp_path)], expect=status)
