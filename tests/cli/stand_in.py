"""Stands in for a program of the environment: see preloaded.py, which puts it in front of a copy of this file."""

import json
import os
import signal
import socket
import sys

FOLDER = os.path.dirname(os.path.abspath(sys.argv[0]))
NAME = os.path.basename(sys.argv[0])
PROGRAM = os.path.join(os.path.realpath(os.path.join(FOLDER, "bin")), NAME)


def starts_as_the_server():
    """Whether Python and libraries would read at their start what they have read in the server."""
    with open(os.path.join(FOLDER, "environment.json")) as file:
        return all(os.environ.get(name) == value for name, value in json.load(file).items())


def python_arguments():
    """Of Python, where they are of a program or of ``python [-u] -m MODULE`` or ``python FILE``, else nothing."""
    if NAME != "python":
        return [PROGRAM, *sys.argv[1:]]
    arguments = sys.argv[2:] if sys.argv[1:2] == ["-u"] else sys.argv[1:]
    if arguments[:1] == ["-m"] or (arguments and arguments[0].endswith(".py")):
        return arguments
    return None


def main():
    """Have the command run, and end as it does."""
    arguments = python_arguments()
    if arguments is None or not starts_as_the_server():
        os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])
    request = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    request["python"] = os.path.join(FOLDER, "python")  # for commands that start others
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(FOLDER, "socket"))
    message = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(connection, [message], [0, 1, 2])
    connection.sendall(message[sent:])
    answers = connection.makefile()
    command = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: os.kill(command, number))
    status = int(answers.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
