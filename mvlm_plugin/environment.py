"""Which code, Python and packages run here, for the records in data-bins and checkpoints."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
_GIT_SECONDS = 10


def package_version(name: str = "mvlm-plugin") -> str:
    """Version of an installed package; ``unknown`` where it is none, as of code that runs from a bare copy."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def code_revision() -> str:
    """Git revision of the code, with ``-dirty`` where files differ from it; empty where it runs from no clone."""
    clone = _PACKAGE.parent
    if not (clone / ".git").exists():  # installed in a folder of somebody else's repository, perhaps
        return ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(clone), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], env=environment, capture_output=True, text=True, timeout=_GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """The program that runs here, as plain strings and dictionaries.

    Args:
        packages: names of packages, as pip knows them; what is not installed is left out.

    Returns:
        ``mvlm_plugin_version``, ``revision`` (see code_revision), ``python``, ``platform`` (system and processor
        architecture) and ``packages`` (name -> version).
    """
    versions = {name: package_version(name) for name in packages}
    return {
        "mvlm_plugin_version": package_version(),
        "revision": code_revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: number for name, number in versions.items() if number != "unknown"},
    }
