"""Whole archives that are damaged or hostile, each with good samples before the damage and one behind it."""

import gzip
from collections.abc import Callable, Iterator
from functools import cache
from random import Random

from hostile_images import flip
from hostile_items import Item
from hostile_tars import END, good_sample, header, padded

SAMPLES = 3
_COMPRESSED = {"claim of a gigabyte, compressed", "bomb of attributes"}
_GIBIBYTE = 2**30
_Built = tuple[bytes, bool | None, bool, bool]


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


@cache
def _zeros_member(mebibytes: int) -> bytes:
    """A gzip file of a member of zeros."""
    size = mebibytes << 20
    head = _gzip(header(b"0.jpg", b"%011o" % size))
    # A gzip file may consist of several, one after the other.
    block = _gzip(bytes(1 << 20))
    return head + block * mebibytes


def _pax(attributes: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", b"%011o" % len(attributes), kind) + padded(attributes)


def _pax_line(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def many_attributes(headers: int) -> Iterator[bytes]:
    """A chain of headers for one member, each with 900 kB of attributes of different names."""
    for number in range(headers):
        yield _pax(b"".join(_pax_line(b"%d.%d" % (number, line), b"v" * 9_000) for line in range(100)))


@cache
def _bomb_of_attributes() -> bytes:
    return _gzip(b"".join(many_attributes(220)))


def _sizes(random: Random) -> bytes:
    """Claims of a size that no member has."""
    return random.choice((
        b"%011o" % _GIBIBYTE, b"77777777777", b"-1", b"-0000000001", b"99999999999", b"0o7", b"garbage", b"1_0",
        b"\xff" * 12, b"\x80" + bytes(3) + _GIBIBYTE.to_bytes(8, "big"), b"\x80" + b"\xff" * 11,
        b"\x80" + bytes(6) + b"\xff" * 5, b"\xb2\xb3", b"1 1", b"+5",
    ))  # fmt: skip


def damaged_archive(random: Random, number: int, compressed: bool) -> Item:
    """An archive of this number, with samples number to number + 2; compressed: whether it may be."""
    # Where reading ends, the sample before the damage is given up too: it may not be whole.
    first, last = good_sample(number) + good_sample(number + 1), good_sample(number + 2)
    whole = first + last + END
    odd = _sizes(random)
    ways: dict[str, Callable[[], _Built]] = {
        # Content; whether something has to be listed; whether the first and the last sample have to be stored.
        "impossible size": lambda: (first + header(b"0.jpg", odd) + last + END, True, True, False),
        "claim of a gigabyte, compressed": lambda: (
            _gzip(first + header(b"0.jpg", b"%011o" % _GIBIBYTE) + last), True, True, False
        ),
        "tar cut off": lambda: (whole[: random.randrange(1, len(whole) - len(END))], True, False, False),
        "tar without end": lambda: (first + last, True, True, True),
        "tar with changed bytes": lambda: (flip(random, whole), None, False, False),
        "gzip cut off": lambda: (_cut(random, _gzip(whole)), True, False, False),
        "gzip with changed bytes": lambda: (flip(random, _gzip(whole)), None, False, False),
        "gzip bomb": lambda: (_gzip(first) + _zeros_member(300) + _gzip(last + END), True, True, True),
        "bomb of attributes": lambda: (_gzip(first) + _bomb_of_attributes() + _gzip(last + END), None, True, True),
        "attributes of a wrong length": lambda: (first + _pax(_wrong_lines(random)) + last + END, True, True, False),
        "name with a claimed gigabyte": lambda: (
            first + header(b"././@LongLink", b"%011o" % _GIBIBYTE, random.choice((b"L", b"K", b"x", b"g"))) + last,
            True, True, False,
        ),
        "attributes of another size": lambda: (
            first + _pax(_pax_line(b"size", random.choice((b"9" * 30, b"-1", b"1e9", b"%d" % _GIBIBYTE)))) + last + END,
            True, True, False,
        ),
        "empty archive": lambda: (random.choice((b"", bytes(100))), None, False, False),
        "no archive": lambda: (
            random.choice((b"<html>" * 400, b"PK\3\4" * 300, random.randbytes(5000))), True, False, False
        ),
        "member with a wrong checksum": lambda: (first + header(b"0.jpg", b"0")[:-1] + b"x" + last, True, True, False),
        "archive behind its end": lambda: (first + END + last + END, True, True, False),
        "bytes behind gzip": lambda: (_gzip(whole) + b"garbage", True, False, False),
        "links and devices": lambda: (first + _links(random) + last + END, True, True, True),
    }  # fmt: skip
    kind = random.choice([kind for kind in ways if compressed or not ("gzip" in kind or kind in _COMPRESSED)])
    content, must, before, behind = ways[kind]()
    survivors = (number,) * before + (number + 1, number + 2) * behind
    source = f"b{number}.tar" + (".gz" if content.startswith(b"\x1f\x8b") else "")
    return Item(kind, must, number, "", "", None, content, source=source, survivors=survivors)


def _cut(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(1, len(content) - 1)]


def _wrong_lines(random: Random) -> bytes:
    choices = (
        b"5 a=",
        b"999 path=x\n",
        b"path=x\n",
        b"0 a=b\n",
        b"9" * 30 + b" a=b\n",
        b"-5 a=b\n",
        b"\xff",
        b"12 path",
    )
    return random.choice(choices)


def _links(random: Random) -> bytes:
    """Members that a careless program would unpack to places elsewhere."""
    return b"".join(
        header(b"%d.jpg" % place, b"0", random.choice((b"1", b"2", b"3", b"4", b"6")), link)
        for place, link in enumerate((b"/etc/passwd", b"../../outside", b"/dev/sda", b"."))
    )
