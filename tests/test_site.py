"""The documentation as a site: every document is a page, and what would be broken on it ends the build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.documents import DOCUMENTS

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
ROOT = Path(__file__).parents[1]
SOURCES = ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "docs", "benchmarks", "examples", "mvlm_plugin")


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)


def copy(folder: Path) -> Path:
    """The sources of the site in a folder where a test may spoil them."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_every_document_is_a_page_with_its_pictures_and_formulas(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    for document in DOCUMENTS:
        page = document.removeprefix("docs/").removesuffix(".md").removesuffix("README").removesuffix("index")
        assert (tmp_path / page / "index.html").is_file(), document
    assert (tmp_path / "examples" / "quickstart" / "reconstructions.png").is_file()
    method = (tmp_path / "method" / "index.html").read_text()
    assert method.count("<math ") == (ROOT / "docs" / "method.md").read_text().count("```math")
    assert (tmp_path / "figures" / "model.svg").is_file()
    reference = (tmp_path / "api" / "index.html").read_text()
    assert 'id="mvlm_plugin.interface.model.VisionLanguageModel.fill_mask"' in reference


def test_what_is_broken_ends_the_build(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "examples" / "new").mkdir()
    (folder / "examples" / "new" / "README.md").write_text("# New\n[lost](../lost/README.md)\n")
    (folder / "docs" / "forgotten.md").write_text("# In no menu\n")
    with open(folder / "docs" / "python.md", "a") as guide:
        guide.write("\n[a](training.md#no-such-part) [b](/docs/data.md)\n\n![c](https://example.org/c.png)\n")
        guide.write("\n```math\n\\nosuchcommand{x}\n```\n")
    with open(folder / "docs" / "api" / "index.md", "a") as page:
        page.write("\n::: mvlm_plugin.interface.model.NoSuchClass\n")
    # A reference that is not there ends a build at once: it is tried last.
    first = build(folder, tmp_path / "site")
    assert first.returncode != 0
    assert "NoSuchClass" in first.stderr
    shutil.copy(ROOT / "docs" / "api" / "index.md", folder / "docs" / "api" / "index.md")
    done = build(folder, tmp_path / "site")
    assert done.returncode != 0
    for problem in (
        "'examples/new/README.md' contains a link '../lost/README.md'",
        "docs/forgotten.md",
        "does not contain an anchor '#no-such-part'",
        "contains an absolute link '/docs/data.md'",
        "docs/python.md fetches from another machine: &lt;img",
        "has \\nosuchcommand, which is not understood",
    ):
        assert problem in done.stderr, (problem, done.stderr)
