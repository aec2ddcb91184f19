"""The command line of mvlm-demo: what cannot work is told at once, with its fix."""

import os
import socket
import sys

import pytest

from mvlm_plugin.demo import command

ARGUMENTS = ["--path", "missing.pt", "--data", "missing"]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets the environment and a signal of its process, which is this one here."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)


def test_a_missing_package_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    assert command.main([*ARGUMENTS, "--port", port]) == 2
    assert "pip install 'mvlm-plugin[demo]'" in capsys.readouterr().err


def test_a_taken_port_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert command.main([*ARGUMENTS, "--port", str(port)]) == 2
    assert f"--port {port}: " in capsys.readouterr().err
    assert command.main([*ARGUMENTS, "--port", "70000"]) == 2
    assert "--port 70000: " in capsys.readouterr().err


def test_numbers_of_images_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*ARGUMENTS, "--max-images", "0"]) == 2
    assert "--max-images must be at least 1" in capsys.readouterr().err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "example: mvlm-demo --path" in capsys.readouterr().out
