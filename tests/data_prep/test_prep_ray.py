"""--distributor ray gives the bytes that processes of this machine give."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from prep_helpers import folder_bytes, write_many

from data_prep.cli import main

REPOSITORY = Path(__file__).parents[2]
CODE = "import sys; from data_prep.cli import main; sys.exit(main())"


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (extra: ray)")
def test_a_local_cluster_makes_the_same_bytes(tmp_path: Path, prepare: Callable[..., Path]) -> None:
    arguments = [*write_many(tmp_path / "raw"), "--part-images", "4"]
    local = prepare(arguments, name="local")
    # In a process of its own: a cluster leaves threads behind.
    command = [sys.executable, "-c", CODE, *arguments, "--distributor", "ray", "--workers", "2"]
    done = subprocess.run(
        [*command, "--dest", str(tmp_path / "bin")],
        cwd=REPOSITORY,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "read images on Ray" in done.stderr
    assert folder_bytes(tmp_path / "bin") == folder_bytes(local)


def test_a_lost_task_is_told_and_the_work_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed (extra: ray)")

    def lost(*references: object) -> None:
        raise ray.exceptions.WorkerCrashedError

    task = SimpleNamespace(remote=lambda *arguments: "reference")
    for name, function in {
        "is_initialized": lambda: True,
        "remote": lambda function: task,
        "put": lambda job: job,
        "wait": lambda references: (references[:1], references[1:]),
        "get": lost,
    }.items():
        monkeypatch.setattr(ray, name, function)
    arguments = [*write_many(tmp_path / "raw"), "--dest", str(tmp_path / "bin")]
    assert main([*arguments, "--distributor", "ray"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mvlm-prep: error: Ray lost a task")
    assert (tmp_path / ".bin.partial" / "plan").is_dir()


def test_without_ray_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = [*write_many(tmp_path / "raw"), "--dest", str(tmp_path / "bin")]
    assert main([*arguments, "--distributor", "ray"]) == 2
    assert "pip install 'mvlm-plugin[ray]'" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "raw"]
