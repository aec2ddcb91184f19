"""Slurm with a stand-in for sbatch, and Ray where it is installed."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from examples.study.launchers import run_on_ray, submit_to_slurm
from examples.study.settings import StudyError

_SBATCH = """#!/usr/bin/env bash
[ -e {folder}/refuse ] && {{ echo "no such partition" >&2; exit 1; }}
printf '%s\\n' "$*" >> {folder}/submitted
echo "$((100 + $(wc -l < {folder}/submitted)));cluster"
"""


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an sbatch that notes its arguments and prints a job's number, first on PATH."""
    program = tmp_path / "sbatch"
    program.write_text(_SBATCH.format(folder=shlex.quote(str(tmp_path))))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_arrays_wait_for_one_another_and_run_their_commands(sbatch: Path) -> None:
    marks = [sbatch / "a 'quoted' $mark", sbatch / "b", sbatch / "c"]
    commands = [["touch", str(mark)] for mark in marks]
    folder = sbatch / "a folder"
    assert submit_to_slurm([commands[:2], commands[2:]], folder, 4, "--gpus=8 --time=1:00") == ["101", "102"]
    lines = (sbatch / "submitted").read_text().splitlines()
    assert lines[0] == f"--parsable --gpus=8 --time=1:00 {folder}/array0.sbatch"
    assert lines[1].startswith("--parsable --dependency=afterany:101 --gpus=8")
    assert "#SBATCH --array=0-1%4\n" in (folder / "array0.sbatch").read_text()
    for number, (script, mark) in enumerate(zip(("array0", "array0", "array1"), marks, strict=True)):
        task = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number % 2)}
        subprocess.run(["bash", folder / f"{script}.sbatch"], env=task, check=True)
        assert mark.exists()


def test_a_refusal_is_told(sbatch: Path) -> None:
    (sbatch / "refuse").touch()
    with pytest.raises(StudyError, match="no such partition"):
        submit_to_slurm([[["true"]]], sbatch / "slurm", 1, "")


def test_without_sbatch_the_scripts_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match=r"submit these .*array0\.sbatch"):
        submit_to_slurm([[["true"]]], tmp_path / "slurm", 1, "")
    assert (tmp_path / "slurm" / "array0.sbatch").exists()


def test_ray_runs_all_and_counts_failures(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        commands = [["touch", str(tmp_path / "a")], ["false"], ["touch", str(tmp_path / "b")]]
        assert run_on_ray(commands, 2, {"num_cpus": 1, "num_gpus": 0}) == 1
    finally:
        ray.shutdown()
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()
