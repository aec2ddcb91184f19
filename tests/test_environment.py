import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from mvlm_plugin import environment


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the code is said to lie in."""
    folder = tmp_path / "clone" / "package"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("a = 1\n")
    monkeypatch.setattr(environment, "_PACKAGE", folder)
    return folder


def test_what_runs_here() -> None:
    found = environment.environment(["numpy", "no-such-package"])
    assert found["packages"] == {"numpy": version("numpy")}
    assert found["python"] == platform.python_version()
    assert found["mvlm_plugin_version"] == version("mvlm-plugin")


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_revision_of_a_clone_and_whether_it_was_changed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = package.parent
    _git(clone, "init", "-q")
    _git(clone, "add", ".")
    _git(clone, "commit", "-qm", "a")
    _git(clone, "tag", "-a", "v1", "-m", "v1")
    revision = _git(clone, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert environment.code_revision() == revision
    (package / "a.py").write_text("a = 2\n")
    assert environment.code_revision() == f"{revision}-dirty"


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_revision_of_somebody_elses_repository_is_not_taken(package: Path) -> None:
    _git(package.parent.parent, "init", "-q")
    _git(package.parent.parent, "add", ".")
    _git(package.parent.parent, "commit", "-qm", "a")
    assert environment.code_revision() == ""
