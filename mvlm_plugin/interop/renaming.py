"""Renames the keys of a state dict by a table of patterns."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class KeyTable(NamedTuple):
    """How the keys of one foreign model become ours.

    source: what is converted, for messages.
    prefix: regular expression of what may stand before every key; it is dropped.
    renamed: (regular expression, replacement) pairs for the whole rest of a key; the first that matches counts.
    ignored: regular expressions of keys that have no counterpart here and may be left behind.
    """

    source: str
    prefix: str
    renamed: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...] = ()


def _rename_key(key: str, table: KeyTable) -> str | None:
    for pattern, replacement in table.renamed:
        match = re.fullmatch(table.prefix + pattern, key)
        if match:
            return match.expand(replacement)
    return None


class SortedKeys(NamedTuple):
    """The keys of a state dict as a table sees them, each list in the order of the state dict."""

    known: list[str]
    ignored: list[str]
    unknown: list[str]


def sort_keys(state: Mapping[str, Tensor], table: KeyTable) -> SortedKeys:
    """What a table renames, what it leaves behind, and what it does not know."""
    sorted_keys = SortedKeys([], [], [])
    for key in state:
        if _rename_key(key, table) is not None:
            sorted_keys.known.append(key)
        elif any(re.fullmatch(table.prefix + pattern, key) for pattern in table.ignored):
            sorted_keys.ignored.append(key)
        else:
            sorted_keys.unknown.append(key)
    return sorted_keys


def rename(state: Mapping[str, Tensor], table: KeyTable) -> dict[str, Tensor]:
    """Rename the keys of a state dict; tensors stay as they are.

    Args:
        state: foreign state dict.
        table: what becomes of its keys.

    Raises:
        ValueError: keys that the table neither renames nor ignores, named in full, or two that become the same.
    """
    renamed: dict[str, Tensor] = {}
    doubled = []
    unknown = sort_keys(state, table).unknown
    if unknown:
        raise ValueError(f"not weights of {table.source}; keys without a counterpart: {', '.join(unknown)}")
    for key, tensor in state.items():
        name = _rename_key(key, table)
        if name in renamed:
            doubled.append(f"{key} -> {name}")
        elif name is not None:
            renamed[name] = tensor
    if doubled:
        raise ValueError(f"weights of {table.source} hold the same part twice: {', '.join(doubled)}")
    return renamed


def fuse_key_value(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join each ``X.key.weight`` and ``X.value.weight`` (and biases) to the ``X.key_value.weight`` of our Attention.

    Raises:
        ValueError: a key projection without its value projection, or the other way round.
    """
    fused = {name: tensor for name, tensor in state.items() if not re.search(r"\.(key|value)\.\w+$", name)}
    parts = sorted({re.sub(r"\.(key|value)(\.\w+)$", r".{}\2", name) for name in state.keys() - fused.keys()})
    missing = [part.format(half) for part in parts for half in ("key", "value") if part.format(half) not in state]
    if missing:
        raise ValueError(f"half of an attention's keys and values is missing: {', '.join(missing)}")
    for part in parts:
        # Our projection's first `width` outputs are the keys, the others the values.
        fused[part.format("key_value")] = torch.cat([state[part.format("key")], state[part.format("value")]])
    return fused
