"""A large split is opened and read without reading it through, and worker processes share what they can."""

import json
import sys

from tests.cli.commands import ROOT, run


def test_opening_costs_little_and_workers_share() -> None:
    program = [sys.executable, str(ROOT / "benchmarks" / "open_databin.py"), "--pairs", "500000"]
    output = run(program, forked=False, PYTHONPATH=str(ROOT))  # it shares nothing with a process before it
    reports = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    opened, read, *workers = reports
    assert opened["seconds"] < 1
    # One pass over the smallest table, the pairs, would map 4 MiB.
    assert opened["private_mib"] + opened["shared_mib"] < 2
    assert read["private_mib"] + read["shared_mib"] < 4
    assert len(workers) == 4
    assert all(worker["private_mib"] < 4 for worker in workers)
