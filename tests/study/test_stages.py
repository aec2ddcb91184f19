"""A run is made once: what is there stays, after a kill between stages too; what failed is recorded and tried again."""

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.study.budget import seconds_per_update, updates_of
from examples.study.commands import Places
from examples.study.launchers import run_locally
from examples.study.settings import StudyError
from examples.study.stages import FAILED, RESULT, _run_child, alone_in, execute
from tests.study.studies import calls, one_run, write_programs


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A folder for a run, and stand-ins for the programs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    train, python = write_programs(programs)
    return Places("data", "data", tmp_path / "run", train, python)


def test_a_run_is_made_once_and_its_checkpoints_go(tmp_path: Path, places: Places) -> None:
    run = one_run(tmp_path, finetune=True)
    assert execute(run, places, "print", 3)
    assert calls(tmp_path / "programs") == ["train", "python", "train", "python"]
    result = json.loads((places.folder / RESULT).read_text())
    assert (result["data"], result["updates"], result["run"]["losses"]) == ("print", 3, "all")
    assert set(result["stages"]) == {"pretrain", "zero_shot", "finetune", "finetuned"}
    assert all(stage["cpu_seconds"] > 0 for stage in result["stages"].values())
    assert not (places.folder / "pretrain").exists()
    assert not (places.folder / "finetune").exists()
    assert execute(run, places, "print", 3)
    assert len(calls(tmp_path / "programs")) == 4


def test_a_linear_baseline_is_measured_without_training(tmp_path: Path, places: Places) -> None:
    assert execute(one_run(tmp_path, losses=["linear"]), places, "print", 0)
    assert calls(tmp_path / "programs") == ["python"]


@pytest.mark.parametrize("name", ["train", "python"])
def test_a_killed_run_goes_on_with_the_stage_that_is_missing(tmp_path: Path, places: Places, name: str) -> None:
    run = one_run(tmp_path)
    programs = tmp_path / "programs"
    (programs / f"kill-{name}").touch()
    process = multiprocessing.get_context("fork").Process(target=execute, args=(run, places, "print", 3))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert not (places.folder / RESULT).exists()
    assert execute(run, places, "print", 3, keep_checkpoints=True)
    assert calls(programs) == {"train": ["train", "train", "python"], "python": ["train", "python", "python"]}[name]
    stages = json.loads((places.folder / RESULT).read_text())["stages"]
    assert stages["pretrain"]["attempts"] == (2 if name == "train" else 1)
    assert (places.folder / "pretrain" / "checkpoint_last.pt").exists()


def test_a_failed_run_is_recorded_with_its_last_words(tmp_path: Path, places: Places) -> None:
    run = one_run(tmp_path)
    (tmp_path / "programs" / "fail-python").touch()
    assert not execute(run, places, "print", 3)
    failed = json.loads((places.folder / FAILED).read_text())
    assert failed["run"] == "all, 25%, seed 1"
    assert "zero_shot ended with status 3" in failed["error"]
    assert "the last words of python" in failed["error"]
    assert not (places.folder / RESULT).exists()
    assert execute(run, places, "print", 3)
    assert calls(tmp_path / "programs") == ["train", "python", "python"]
    assert not (places.folder / FAILED).exists()


def test_two_processes_do_not_make_the_same_run(tmp_path: Path, places: Places) -> None:
    run = one_run(tmp_path)
    with alone_in(places.folder) as is_alone:
        assert is_alone
        assert not execute(run, places, "print", 3)
    assert not (tmp_path / "programs" / "calls").exists()
    assert execute(run, places, "print", 3)


def test_a_stage_costs_the_cpu_time_of_its_process_and_of_that_ones_workers(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\n"
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n{burn}"
    with open(tmp_path / "log", "wb") as log:
        status, seconds = _run_child([sys.executable, "-c", program], log)
        _, idle = _run_child(["sleep", "0.5"], log)
    assert status == 0
    assert idle < 0.5 < 1 <= seconds


def test_others_go_on_when_one_fails() -> None:
    commands = [["true"], ["false"], ["true"], ["sh", "-c", "exit 5"]]
    assert run_locally(commands, 1) == 2
    assert run_locally(commands, 3) == 2
    assert run_locally([], 2) == 0


def _row(losses: str, seconds: str, budget: str = "updates", updates: str = "3") -> dict[str, str]:
    """What budget.py reads of a run's row."""
    about = {"losses": losses, "variant": "default", "budget": budget}
    return about | {"updates": updates, "pretrain_cpu_seconds": seconds}


def test_an_equal_compute_budget_is_that_of_the_full_losses(tmp_path: Path) -> None:
    itc = one_run(tmp_path, losses=["itc"])
    rows = [
        _row("all", "6.0"), _row("all", "9.0"), _row("all", "30.0"),  # median: 3 s an update
        _row("itc", "1.5"), _row("itc", ""),  # an interrupted one does not count
    ]  # fmt: skip
    assert seconds_per_update(rows, "all", "default") == 3.0
    assert seconds_per_update(rows, "itc", "default") == 0.5
    assert seconds_per_update(rows, "itc", "both") is None
    equal = replace(itc, budget="compute")
    folder = tmp_path / "equal"
    assert updates_of(equal, folder, "all", rows) == 18  # 3 updates x 3 s / 0.5 s
    assert updates_of(equal, folder, "all", []) == 18  # kept
    assert updates_of(itc, tmp_path / "itc", "all", []) == 3
    assert updates_of(one_run(tmp_path, losses=["linear"]), tmp_path / "linear", "all", []) == 0
    with pytest.raises(StudyError, match="no run of all has been measured"):
        updates_of(equal, tmp_path / "new", "all", rows[3:])
    first = _row("itc", "9.0", budget="compute", updates="17")
    assert updates_of(equal, tmp_path / "second", "all", [*rows, first]) == 17  # as the first of its combination
