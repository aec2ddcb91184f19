"""Commands of tests are forked from a process with torch and fairseq; what they see and how they end is as ever."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import ENVIRONMENT, run, shell_path
from tests.cli.preloaded import BIN, stand_ins

SEEN = """
import json, os, sys
of_python = [sys.argv, os.getcwd(), sys.path[0], __name__, sorted(sys.modules)]
json.dump([*of_python, dict(os.environ), sys.stdin.read()], sys.stdout)
print("to the other stream", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "seen.py").write_text(SEEN)
    return tmp_path / "seen.py"


def seen(python: Path, arguments: list[str], folder: Path) -> list:
    """What a program sees that Python is to run, and its other outcomes."""
    done = subprocess.run(
        [python, *arguments], cwd=folder, env={**ENVIRONMENT, "OWN": "1"}, input="asked", capture_output=True, text=True
    )
    return [json.loads(done.stdout), done.stderr, done.returncode]


@pytest.mark.parametrize("arguments", [["seen.py", "-a", "b c"], ["-m", "seen", "-a"], ["-u", "-m", "seen"]])
def test_a_program_sees_what_it_sees_without_the_server(arguments: list[str], program: Path) -> None:
    forked = seen(stand_ins() / "python", arguments, program.parent)
    real = seen(BIN / "python", arguments, program.parent)
    assert "fairseq" in forked[0][4]
    assert "fairseq" not in real[0][4]
    assert not [name for name in forked[0][4] if name.startswith(("mvlm_plugin", "data_prep", "tests"))]
    for outcome in (forked, real):
        del outcome[0][4]
    assert forked == real
    assert real[2] == 3


def test_an_error_ends_a_command_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("raise ValueError('of this file')")
    output = run([sys.executable, str(tmp_path / "wrong.py")], expect=1)
    assert output.splitlines()[0] == "Traceback (most recent call last):"
    assert output.splitlines()[-1] == "ValueError: of this file"


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHASHSEED"])
def test_a_command_with_another_environment_at_its_start_is_not_forked(name: str, tmp_path: Path) -> None:
    (tmp_path / "modules.py").write_text("import sys; print('fairseq' in sys.modules)")
    program = [sys.executable, str(tmp_path / "modules.py")]
    assert run(program) == "True\n"
    assert run(program, **{name: "2"}) == "False\n"


def test_what_python_reads_when_it_starts_is_not_forked() -> None:
    code = "import sys; print('fairseq' in sys.modules)"
    assert run([sys.executable, "-c", code]) == "False\n"
    (version,) = run([str(BIN / "python"), "--version"]).splitlines()
    assert version.startswith("Python 3")


def test_a_shell_finds_the_stand_ins_first() -> None:
    assert run(["bash", "-c", "command -v fairseq-train"], PATH=shell_path()).strip() == str(
        stand_ins() / "fairseq-train"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_command(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(
        "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)",
    )
    command = [stand_ins() / "python", tmp_path / "long.py"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as stand_in:
        forked = int(stand_in.stdout.readline())
        assert forked != stand_in.pid
        stand_in.send_signal(number)
        assert stand_in.wait(30) == -number
    until = time.monotonic() + 30
    while Path(f"/proc/{forked}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(forked, 0)
