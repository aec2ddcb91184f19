"""Webdataset archives with samples that are bad, written header by header."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hostile_images import encoded, picture
from hostile_items import Item, words
from hostile_rows import BadRow

BLOCK = 512
END = bytes(2 * BLOCK)
_LEVELS = 100_000


def padded(content: bytes) -> bytes:
    """Content filled up to whole blocks."""
    return content + bytes(-len(content) % BLOCK)


def header(name: bytes, size: bytes, kind: bytes = b"0", link: bytes = b"") -> bytes:
    """The header of a member, with whatever name of up to 100 bytes and size; its checksum is right."""
    fields = struct.pack("100s8s8s8s12s12s8s1s100s8s", name, b"0000644", b"0", b"0", size, b"0", b" " * 8, kind, link,
                         b"ustar\00000")  # fmt: skip
    fields = fields.ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def member(name: str, content: bytes) -> bytes:
    """A regular file; a long name has a header of its own, as GNU tar writes it."""
    raw = name.encode("utf-8", "surrogateescape")
    long = b""
    if len(raw) > 100:
        long = header(b"././@LongLink", b"%011o" % (len(raw) + 1), b"L") + padded(raw + b"\0")
    return long + header(raw[:100], b"%011o" % len(content)) + padded(content)


def sample(name: str, text: bytes, data: bytes, attributes: bytes | None = None) -> bytes:
    """An image, its caption, and what its .json has."""
    folder, slash, base = name.rpartition("/")
    key = folder + slash + base.partition(".")[0]
    more = b"" if attributes is None else member(f"{key}.json", attributes)
    return member(name, data) + member(f"{key}.txt", text) + more


def good_sample(number: int) -> bytes:
    """A sample that can be used."""
    attributes = json.dumps({"label": number, "caption": words(number)}).encode()
    return sample(f"{number}.png", words(number).encode(), encoded(picture(number), "PNG"), attributes)


@dataclass(frozen=True)
class TarForm:
    """Archives; bad samples are in the first, further items are archives of their own."""

    name: str
    options: tuple[str, ...] = ()
    command: str = "webdataset"
    names: None = None
    image_name: Callable[[int], str] = "{:06d}.png".format

    def write(self, folder: Path, items: list[Item]) -> list[str]:
        """Write the source; returns the arguments of mvlm-prep."""
        folder.mkdir()
        samples = []
        for item in items:
            if item.source is not None:
                (folder / item.source).write_bytes(item.raw)
            else:
                data = item.data if isinstance(item.data, bytes) else b""
                samples.append(item.raw or sample(item.name, item.text.encode("utf-8", "surrogatepass"), data))
        (folder / "a.tar").write_bytes(b"".join(samples) + END)
        return ["webdataset", "--tars", str(folder / "*.tar*"), "--fields", "label", *self.options]

    def bad_row(self, random: Random, name: str, number: int, index: int) -> BadRow:
        """The bytes of a bad sample."""
        image, caption = encoded(picture(number), "PNG"), words(number).encode()
        text = (
            b"x" * (17 << 20) if index % 20 == 19 else random.choice((b"", b" \n ", b"\xff\xfea", b"\0\x01\n", b"\xc0"))
        )
        kinds: dict[str, Callable[[], tuple[bytes, bool | None]]] = {
            "caption that is not usable": lambda: (sample(name, text, image), True),
            "no caption": lambda: (member(name, image), True),
            "no image": lambda: (member(f"{number}.txt", caption), True),
            "two images": lambda: (member(f"{number}.jpg", image) + sample(name, caption, image), True),
            "two captions": lambda: (sample(name, caption, image) + member(f"{number}.txt", caption), True),
            "name without extension": lambda: (member(str(number), image), True),
            "sample twice": lambda: (
                sample(name, caption, image) + good_sample(number + 5 * 10**5) + sample(name, caption, image), None
            ),
            "link as image": lambda: (_odd_member(random, name) + member(f"{number}.txt", caption), True),
            "link as caption": lambda: (member(name, image) + _odd_member(random, f"{number}.txt"), True),
            "not usable .json": lambda: (sample(name, caption, image, _bad_json(random)), None),
            "deeply nested .json": lambda: (sample(name, caption, image, b"[" * _LEVELS), True),
            "label that is none": lambda: (sample(name, caption, image, _bad_label(random)), None),
            "name that leads elsewhere": lambda: (sample(_elsewhere(random, number), caption, image), None),
        }  # fmt: skip
        kind = random.choice(list(kinds))
        content, must = kinds[kind]()
        return BadRow(kind, content, must)  # type: ignore[arg-type]


def _odd_member(random: Random, name: str) -> bytes:
    """A link, device, pipe, or what nobody knows, of that name."""
    kind = random.choice((b"1", b"2", b"2", b"3", b"4", b"6", b"S", b"Z", b"\xff"))
    link = random.choice((b"/etc/passwd", b"../../outside/canary.png", b"/dev/zero", name.encode()))
    return header(name.encode(), b"0", kind, link)


def _elsewhere(random: Random, number: int) -> str:
    names = (
        f"../../evil{number}.jpg", f"/evil{number}.jpg", f"a/../../{number}.jpg", f"{number}\n.jpg",
        f"{number}\r\x1b.jpg", f"{number}\udcff.jpg", f"{number}{'x' * 5000}.jpg", f"{'d/' * 2000}{number}.jpg",
        f"C:\\{number}.jpg", f"/dev/{number}.jpg", f"{number}.tar.gz.jpg", f" {number} .jpg", f"{number}\u202egpj.png",
    )  # fmt: skip
    return random.choice(names)


def _bad_json(random: Random) -> bytes:
    return random.choice((b"", b"{", b"nul", b"\xff{}", b"[]", b"1", b'"x"', b"NaN", b'{"label": 1e999}', b"{}{}"))


def _bad_label(random: Random) -> bytes:
    values: list[Any] = [None, [None], {"a": 1}, [[1]], "\ud800", 2**70, 10**400, "x" * 50_000, [1, "a"], float("nan")]
    return json.dumps({"label": random.choice(values), "caption": random.choice(values), "cocoid": 2**80}).encode()
