"""Records that are not what their source says: wrong columns, bytes, JSON types and numbers."""

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from hostile_forms import Form, ValuePath, as_json
from hostile_images import flip

_LONG_LINE = 20 * 2**20
_LONG_RECORD = 12 * 2**20
_LEVELS = 100_000
# Of so many bad records one is a line of 20 MB.
_LONG_LINES = 40


class BadRow(NamedTuple):
    """Bytes of the parts of a record; must: as in Item."""

    kind: str
    parts: dict[str, bytes]
    must: bool | None


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _wrong_values(random: Random) -> list[Any]:
    return [
        None, True, False, 0, -1, 2**31, 2**53 + 1, 2**63 - 1, 0.5, -1e300, "", " ", "x", "\0", "\ud800", "NaN",
        "\ud83d\udc36", "x" * random.choice((300, 20_000)), [], {}, [[]], [None], [1, 2], ["a", 1], [{}],
        {"raw": 1}, {"": {"": ""}}, _nested(50),
    ]  # fmt: skip


def _replaced(value: Any, path: ValuePath, new: Any) -> Any:
    """A copy of JSON values with another one at a place; the string "absent" removes it there."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    if new == "absent" and isinstance(holder, dict):
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return changed


def _at(value: Any, path: ValuePath) -> Any:
    for key in path:
        value = value[key]
    return value


def wrong_type(random: Random, form: Form, name: str, text: str, number: int) -> BadRow:
    """A record of JSON with a value that is missing or of another type."""
    values = form.record(name, text, number)
    path = random.choice(form.required)
    new = random.choice([*_wrong_values(random), *(["absent"] * 3 if len(path) > 1 else [])])
    must = None if type(new) is type(_at(values, path)) and new != "absent" else True
    if new == "absent" and path[-1] == "label":  # the test set of NLVR2 has none
        must = None
    kind = "value missing" if new == "absent" else "value of a wrong type" if must else "odd value"
    values = _replaced(values, path, new)
    return BadRow(kind, {part: as_json(value) for part, value in values.items()}, must)


def odd_further_value(random: Random, form: Form, name: str, text: str, number: int) -> BadRow:
    """A record of JSON with a wrong value where nothing depends on it."""
    values = form.record(name, text, number)
    part = random.choice([part for part, value in values.items() if isinstance(value, dict)] or [*values])
    if isinstance(values[part], dict):
        keys = [*values[part], "further", "url", "coco_id", "cocoid", "flickr_url", "filepath"]
        values[part][random.choice(keys)] = random.choice(_wrong_values(random))
    else:
        values[part] = random.choice(_wrong_values(random))
    return BadRow("odd further value", {part: as_json(value) for part, value in values.items()}, None)


def odd_caption(random: Random, form: Form, name: str, number: int) -> BadRow:
    """A caption that cannot be used, or hardly."""
    captions: dict[str, tuple[str, bool | None]] = {
        "caption of control characters": ("\x01\x02\x7f\u200b", True),
        "empty caption": ("", True),
        "blank caption": ("  \u3000 ", True),
        "caption too long": ("dog " * random.choice((2_501, 20_000)), True),
        "caption of half characters": ("\ud800\ud801", None),
        "caption of special tokens": ("<unk> </s> <s> <pad> <mask> \u2581 dog", None),
        "caption of combining characters": ("a" + "\u0316\u0301" * 2000, None),
        "caption of rare characters": ("".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(500)), None),
        "caption of private characters": ("\ue000\ufdd0\U0010ffff\ufeff", None),
    }
    kind = random.choice(list(captions))
    text, must = captions[kind]
    return BadRow(kind, form.raw_record(name, text, number), must)


def bad_json_line(random: Random, record: bytes) -> BadRow:
    """A line that should be a JSON object."""
    half = _LEVELS
    lines: dict[str, Callable[[], tuple[bytes, bool | None]]] = {
        "no JSON": lambda: (random.choice((b"not JSON", b"{", b"}", b"{]", b"nul", b"{'a': 1}", b"\\", b'"')), True),
        "JSON that is no object": lambda: (random.choice((b"[1]", b"null", b"1", b'"x"', b"NaN", b"[]")), True),
        "deeply nested JSON": lambda: (random.choice((b"[" * half + b"]" * half, b'{"a":' * half)), True),
        "deeply nested field": lambda: (record[:-1] + b', "f": ' + b"[" * half + b"]" * half + b"}", True),
        "number of 5,000 digits": lambda: (record[:-1] + b', "f": ' + b"9" * 5000 + b"}", True),
        "number beyond 64 bits": lambda: (record[:-1] + b', "label": ' + b"9" * random.randrange(19, 400) + b"}", None),
        "no number": lambda: (
            record[:-1] + b', "label": ' + random.choice((b"NaN", b"-Infinity", b"1e999", b"[NaN]")) + b"}", None
        ),
        "JSON cut off": lambda: (record[: random.randrange(1, len(record) - 1)], True),
        "two objects in a line": lambda: (record + record, True),
        "key twice": lambda: (record[:-1] + b', "image": [], "identifier": 1, "sentence2": {}}', True),
    }  # fmt: skip
    kind = random.choice(list(lines))
    line, must = lines[kind]()
    return BadRow(kind, {"lines": line}, must)


def bad_line(random: Random, form: Form, name: str, text: str, number: int) -> BadRow:
    """A record of which one line is damaged."""
    parts = form.raw_record(name, text, number)
    part = random.choice(list(parts))
    good = parts[part]
    separator = b"|" if b"|" in good else b"," if form.name == "csv" else b"\t"
    separated = separator in good and not form.is_json
    ends = separator == b"|" or form.name == "flickr30k .token"  # captions hold whatever is left of the line
    lines: dict[str, tuple[bytes, bool | None]] = {
        "line that is not UTF-8": (good + random.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\x80")), True),
        "line in UTF-16": (good.decode("utf-8").encode("utf-16"), True),
        "line of zero bytes": (bytes(random.randrange(1, 300)), True),
        "column missing": (good.split(separator)[0], True if separated else None),
        "column too many": (good + separator + b"more", True if separated and not ends else None),
        "changed bytes": (flip(random, good, avoid=b'\n\r"'), None),
        "cut off": (good[: random.randrange(1, len(good))], None),
        "carriage return": (good + b"\r" + good, None),
        "odd white space": (good.replace(separator, "\u2028".encode(), 1), True if separated else None),
        "HTML": (b"<html><body>Too many requests</body></html>", None if form.name == "sbu text" else True),
    }
    if form.name == "csv":
        lines["quotation mark never closed"] = (f'"{name},{text},{number}'.encode(), True)
        lines["caption never closed"] = (f'{name},"{text},{number}'.encode(), True)
    kind = random.choice(list(lines))
    line, must = lines[kind]
    return BadRow(kind, {**parts, part: line}, must)


def long_line(form: Form, name: str, number: int) -> BadRow:
    """A record that is too long for a line, or nearly too long for a JSON file."""
    kind, size = ("record of 12 MB", _LONG_RECORD) if form.is_json_list else ("line of 20 MB", _LONG_LINE)
    return BadRow(kind, form.raw_record(name, "dog " * (size // 4), number), True)


def bad_row(random: Random, form: Form, name: str, text: str, number: int, index: int) -> BadRow:
    """The bad record of this index in a series."""
    if index % _LONG_LINES == _LONG_LINES - 1:
        return long_line(form, name, number)
    ways: list[Callable[[], BadRow]] = [lambda: odd_caption(random, form, name, number)]
    if form.is_json:
        ways += [lambda: wrong_type(random, form, name, text, number)] * 3
        ways += [lambda: odd_further_value(random, form, name, text, number)]
    if not form.is_json_list:
        ways += [lambda: bad_line(random, form, name, text, number)] * 3
    if form.is_json and not form.is_json_list:
        record = json.dumps(form.record(name, text, number)["lines"]).encode()
        ways += [lambda: bad_json_line(random, record)] * 3
    return random.choice(ways)()
