"""The data-bin of scenes that tests of commands use."""

from tests.cli.conftest import scenes

__all__ = ["scenes"]
