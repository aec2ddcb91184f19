"""Names of images that lead elsewhere or are no names, and things that are no files where an image should be."""

import os
import socket
from pathlib import Path
from random import Random
from typing import NamedTuple

from hostile_images import encoded, picture
from hostile_items import Make

# More than an image may have.
_TOO_MANY_BYTES = 2**28 + 1


class BadName(NamedTuple):
    """A name and what lies there; must: as in Item."""

    kind: str
    name: str
    must: bool | None
    make: Make | bytes | None = None


def _socket(path: Path) -> None:
    # The name of a socket may have 107 bytes only.
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def _too_large(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(_TOO_MANY_BYTES)


def odd_places(plain: str, outside: Path) -> list[BadName]:
    """A name of what is no image file, or not in the images folder; outside: a folder with canary.png."""
    return [
        BadName("folder", plain, True, lambda path: path.mkdir()),
        BadName("FIFO", plain, True, lambda path: os.mkfifo(path)),
        BadName("socket", plain, True, _socket),
        BadName("link to a device", plain, True, lambda path: path.symlink_to("/dev/zero")),
        BadName("link to standard input", plain, True, lambda path: path.symlink_to("/dev/stdin")),
        BadName("link to /proc", plain, True, lambda path: path.symlink_to("/proc/self/environ")),
        BadName("link out of the folder", plain, True, lambda path: path.symlink_to(outside / "canary.png")),
        BadName(
            "relative link out of the folder", plain, True,
            lambda path: path.symlink_to(os.path.relpath(outside / "canary.png", path.parent)),
        ),
        BadName("link to itself", plain, True, lambda path: path.symlink_to(path.name)),
        BadName("link to nothing", plain, True, lambda path: path.symlink_to("nowhere")),
        BadName("file of 256 MiB", plain, True, _too_large),
    ]  # fmt: skip


def odd_spellings(random: Random, number: int, folder: str, found: bool) -> list[BadName]:
    """Names in a folder that a file system can hold, with an image there: they may be stored."""
    image = encoded(picture(number), "PNG")
    spellings = {
        "line feed in a name": f"{number}\n.png",
        "carriage return in a name": f"{number}\r.png",
        "tab in a name": f"{number}\t.png",
        "line separator in a name": f"{number}\u2028\x85\x1e.png",
        "odd Unicode in a name": f"{number}\u202egnp\u200b\U0001f436\ufffe.png",
        "name that is not normalised": f"{number}e\u0301\u1100\u1161.png",
        "name of 250 characters": f"{number}{'x' * 240}.png",
        "name that is an option": f"-rf {number}.png",
        "name with shell syntax": f"$(touch evil); {number} `touch evil` | x.png",
        "name with formats": f"%s%n{{0}}{number}.png",
        "hidden file": f".{number}.png",
        "backslashes in a name": f"..\\..\\{number}.png",
        "no extension": f"{number}",
    }
    if found:
        spellings["name that is not UTF-8"] = f"{number}\udcff.png"
    return [BadName(kind, folder + name, None, image) for kind, name in spellings.items()]


def impossible_names(random: Random, number: int, outside: Path) -> list[BadName]:
    """Names that must not be found, whatever lies elsewhere."""
    canary = outside / "canary.png"
    names = {
        "parent folder": f"../../{outside.name}/canary.png",
        "parent folder within a path": f"{number}/../../../{outside.name}/canary.png",
        "absolute path": str(canary),
        "absolute path with slashes": f"//{canary}",
        "device": random.choice(("/dev/zero", "/dev/stdin", "/dev/full", "/proc/self/mem", "/dev/fd/0")),
        "device of another system": random.choice(("CON", "NUL", "aux.png", "C:\\x.png", "\\\\host\\x.png")),
        "zero byte in a name": f"{number}\0.png",
        "half a character in a name": f"{number}\ud800.png",
        "5,000 characters": f"{number}{'x' * 5000}",
        "2,500 folders": "d/" * 2500 + str(number),
        "folder itself": random.choice((".", "./", "././.")),
        "blank name": random.choice((" ", "\u3000", "  ")),
        "empty name": "",
        "home folder": random.choice(("~", "~root/.profile", "~/x.png")),
        "variable": "$HOME/x.png",
        "address": random.choice(("file:///etc/passwd", "http://127.0.0.1:9/x.png", "s3://x/y.png", "memory://x")),
        "pattern": random.choice(("*", "?" * 10, "[0-9]*.png")),
    }
    return [BadName(kind, name, True) for kind, name in names.items()]


def bad_name(random: Random, number: int, plain: str, names: str, outside: Path) -> BadName:
    """A bad name.

    Args:
        random: chooses.
        number: which the name holds, where it is free to.
        plain: the name that a good image of this number has.
        names: what a record can name: "any" file, "found" ones, or "none" but its own.
        outside: a folder with canary.png.
    """
    ways = [odd_places(plain, outside)]
    if names != "none":
        ways.append(odd_spellings(random, number, plain[: plain.rfind("/") + 1], names == "found"))
    if names == "any":
        ways.append(impossible_names(random, number, outside))
    return random.choice(random.choice(ways))
