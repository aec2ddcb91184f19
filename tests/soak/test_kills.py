"""A run that is killed three times ends as if nothing had happened; ``make soak`` has more of it."""

import sys

from tests.cli.commands import run


def test_three_kills_change_nothing() -> None:
    # In the middle of a checkpoint file, during validation, and by SIGTERM; with accumulation and a loader's worker.
    options = ["--kills", 3, "--kinds", "writing,validation,signal", "--updates", 9]
    output = run([sys.executable, "-m", "tests.soak.kills", *map(str, options)])
    assert "kill 1: writing file" in output
    assert "kill 2: SIGKILL in validation: at update" in output
    assert "kill 3: SIGTERM: at update" in output
    assert "3 kills, " in output
    assert "weights and optimizer are the same, bit for bit" in output
