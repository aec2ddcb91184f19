"""Commands that start at once: forked from a process that has imported torch and fairseq, which takes longest.

A folder of stand-ins takes the place of the environment's programs. A stand-in (stand_in.py) sends its arguments,
folder, environment and standard streams to the server below, one of each process of tests, and ends as the forked
command does. Nothing of the plugin is imported beforehand: it comes in as its user makes it come in.
"""

import atexit
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

BIN = Path(sys.executable).parent
# Of tests' commands. One thread, so that sums are made in the same order every time.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
# Python or libraries read these when they start: a command that has others is not forked.
_READ_AT_START = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONWARNINGS", "PYTHONHASHSEED", "LD_PRELOAD")
# Programs of others than fairseq start fast, or start Python again; mvlm-prep keeps torch out of its process.
_PROGRAMS = ("fairseq-*", "mvlm-*", "python", "torchrun")
_REAL = ("mvlm-prep",)
_REQUEST = 1 << 20  # bytes of a request, at most


@cache
def stand_ins() -> Path:
    """The folder of stand-ins; the server is started, and ends with this process and takes the folder with it."""
    folder = Path(tempfile.mkdtemp(prefix="mvlm-programs-"))
    code = Path(__file__).with_name("stand_in.py").read_text()
    for program in (path for pattern in _PROGRAMS for path in BIN.glob(pattern)):
        if program.name not in _REAL:
            (folder / program.name).write_text(f"#!{sys.executable} -IS\n{code}")
            (folder / program.name).chmod(0o755)
    (folder / "bin").symlink_to(BIN)
    (folder / "environment.json").write_text(json.dumps({name: ENVIRONMENT.get(name) for name in _READ_AT_START}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen(16)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())], stdin=subprocess.PIPE, pass_fds=[listener.fileno()],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    atexit.register(server.communicate)  # it ends when its standard input does
    return folder


def _serve(listener: socket.socket) -> list[str] | None:
    """Fork for every request. Returns in the forked processes, with the arguments of the command to become."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who attend to commands
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            if not os.fork():
                listener.close()
                return _attend(connection)
    return None


def _attend(connection: socket.socket) -> list[str]:
    """Start the command in a process, tell its stand-in how it ends, and end it if the stand-in is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sent, streams, _, _ = socket.recv_fds(connection, _REQUEST, 3)
    while not sent.endswith(b"\n"):
        sent += connection.recv(_REQUEST)
    request = json.loads(sent)
    command = os.fork()
    if not command:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.executable = request["python"]
        return request["arguments"]
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{command}\n".encode())

    def end_with_the_stand_in() -> None:
        if not connection.recv(1):
            os.kill(command, signal.SIGKILL)

    threading.Thread(target=end_with_the_stand_in, daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    connection.sendall(str(status).encode())
    os._exit(0)


def _become(arguments: list[str]) -> None:
    """Run what Python would run: ``-m MODULE``, or a file of Python. The interpreter ends after it, as ever."""
    sys.path[1:1] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if arguments[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def _main() -> None:
    import fairseq  # noqa: F401
    import torch._dynamo  # noqa: F401  (every optimizer imports it)

    # Whoever logs first while it is imported sets up logging, before its programs do.
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    listener = socket.socket(fileno=int(sys.argv[1]))
    folder = Path(listener.getsockname()).parent
    arguments = _serve(listener)
    if arguments:
        _become(arguments)
    else:
        shutil.rmtree(folder)


if __name__ == "__main__":
    _main()
