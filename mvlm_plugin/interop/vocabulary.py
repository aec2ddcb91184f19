"""Token embeddings from one vocabulary's order to another's, symbol by symbol."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

SHOWN = 20


class Symbols(Protocol):
    """What is asked of a dictionary: fairseq's has it."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> str: ...


class MissingSymbolsError(ValueError):
    """Symbols of a dictionary that the source of a token embedding does not know."""


def shown(symbols: Sequence[str]) -> str:
    """The first symbols of a list that may be long."""
    more = f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else ""
    return ", ".join(repr(symbol) for symbol in symbols[:SHOWN]) + more


def reorder_rows(
    weight: Tensor, source_symbols: Sequence[str], dictionary: Symbols, specials: Mapping[str, str]
) -> Tensor:
    """Put the rows of a token embedding into a dictionary's order.

    Args:
        weight: (S, D) the source's token embedding; rows behind the source's symbols are not used.
        source_symbols: the source's symbol of each row.
        dictionary: V symbols in the order wanted.
        specials: symbols of the dictionary that are called otherwise in the source, e.g.
            ``data.wordpiece.BERT_SPECIALS``.

    Returns:
        (V, D) tensor of weight's type, row i the source's row for ``dictionary[i]``.

    Raises:
        MissingSymbolsError: symbols of the dictionary that the source has no row for.
        ValueError: more symbols than rows.
    """
    if len(source_symbols) > weight.size(0):
        raise ValueError(f"a vocabulary of {len(source_symbols)} does not fit an embedding of {weight.size(0)} rows")
    rows = {symbol: row for row, symbol in enumerate(source_symbols)}
    wanted = [specials.get(symbol, symbol) for symbol in (dictionary[i] for i in range(len(dictionary)))]
    missing = [symbol for symbol in wanted if symbol not in rows]
    if missing:
        raise MissingSymbolsError(
            f"{len(missing)} of {len(wanted)} symbols have no row in the source's vocabulary: {shown(missing)};"
            " prepare the data with the source's own vocabulary."
        )
    return weight.index_select(0, torch.tensor([rows[symbol] for symbol in wanted], device=weight.device))
