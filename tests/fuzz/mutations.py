"""Mutations of inputs: of single bytes anywhere, and of values where the content is JSON."""

import json
import random
from typing import Any

_NUMBERS = (0, 1, 7, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
# In place of a value of JSON.
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, 1e308, float("nan"), float("inf"), 10**30, 2**31, 2**63, "", " ", "a", "0",
    "..", "../../x", "/etc/passwd", "\0", "\ud800", "\u202e", "a" * 5000, "${task}", "${oc.env:HOME}", "%s", "{side}",
    [], {}, [[]], [None], {"": 1}, [{}] * 3, ["a"] * 50, {"_name": "x"},
)  # fmt: skip


def mutate(data: bytes, rng: random.Random, most: int = 1 << 18) -> bytes:
    """An input like another, of at most ``most`` bytes; its first byte, the form, stays as often as not."""
    form, content = data[:1] or b"\0", data[1:]
    if rng.random() < 0.2:
        form = bytes([rng.randrange(16)])
    changed = _of_json(content, rng) if rng.random() < 0.6 else None
    if changed is None:
        changed = content
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            changed = _of_bytes(changed, rng)
    return (form + changed)[:most]


def _of_bytes(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
    size = rng.choice((1, 2, 4, 8))
    number = (rng.choice(_NUMBERS) % 256**size).to_bytes(size, rng.choice(("little", "big")))
    return rng.choice(
        (
            data[:start] + bytes([rng.randrange(256)]) + data[start + 1 :],
            data[:start] + number + data[start + size :],
            data[:start] + data[end:],
            data[:start] + data[start:end] * 3 + data[end:],
            data[:start],
            data[:start] + data[rng.randrange(len(data) + 1) :],
        )
    )


def _of_json(content: bytes, rng: random.Random) -> bytes | None:
    """A JSON text, or some lines of them, with one to three of its values changed; None where it is no JSON."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(value, rng)
    return json.dumps(value).encode()


def _changed(value: Any, rng: random.Random) -> Any:
    """A value in which one, somewhere, is another, is missing, or is there twice."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(_VALUES)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        kept = [] if rng.random() < 0.1 else [_changed(value[place], rng)]
        return [*value[:place], *kept * (1 + (rng.random() < 0.1)), *value[place + 1 :]]
    key = rng.choice(list(value))
    rest = {name: entry for name, entry in value.items() if name != key}
    if rng.random() < 0.1:
        return rest
    if rng.random() < 0.1:
        return {**rest, str(rng.choice(_VALUES))[:50]: value[key]}
    return {**rest, key: _changed(value[key], rng)}
