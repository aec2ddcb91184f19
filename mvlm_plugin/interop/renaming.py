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


def rename(state: Mapping[str, Tensor], table: KeyTable) -> dict[str, Tensor]:
    """Rename the keys of a state dict; tensors stay as they are.

    Args:
        state: foreign state dict.
        table: what becomes of its keys.

    Raises:
        ValueError: keys that the table neither renames nor ignores, named in full, or two that become the same.
    """
    renamed: dict[str, Tensor] = {}
    unknown, doubled = [], []
    for key, tensor in state.items():
        name = _rename_key(key, table)
        if name is None:
            if not any(re.fullmatch(table.prefix + pattern, key) for pattern in table.ignored):
                unknown.append(key)
        elif name in renamed:
            doubled.append(f"{key} -> {name}")
        else:
            renamed[name] = tensor
    if unknown:
        raise ValueError(f"not weights of {table.source}; keys without a counterpart: {', '.join(unknown)}")
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
