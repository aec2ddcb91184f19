"""Reads dict.txt as fairseq's Dictionary does, without fairseq, whose import takes seconds."""

from pathlib import Path

from .databin import DataBinError

_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_OVERWRITE = "#fairseq:overwrite"


class TokenIds:
    """Symbols of a dictionary to ids and back; the ids are those of fairseq's Dictionary.

    Args:
        path: a dict.txt, lines of a symbol and its count.

    Attributes:
        nspecial: number of symbols before those of the file.

    Raises:
        DataBinError: it is missing or damaged.
    """

    nspecial = len(_SPECIALS)

    def __init__(self, path: Path) -> None:
        self._symbols = list(_SPECIALS)
        self._ids = {symbol: number for number, symbol in enumerate(_SPECIALS)}
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    self._add(line.rstrip())
        except (OSError, ValueError) as error:
            raise DataBinError(f"{path} cannot be read: {error}") from error

    def _add(self, line: str) -> None:
        overwrite = line.endswith(f" {_OVERWRITE}")
        symbol, count = line.removesuffix(f" {_OVERWRITE}").rsplit(" ", 1)
        int(count)
        if symbol in self._ids and not overwrite:
            raise ValueError(f"{symbol!r} is there twice")
        self._ids[symbol] = len(self._symbols)
        self._symbols.append(symbol)

    def __len__(self) -> int:
        return len(self._symbols)

    def __getitem__(self, number: int) -> str:
        return self._symbols[number] if number < len(self._symbols) else _SPECIALS[self.unk()]

    def index(self, symbol: str) -> int:
        """Id of a symbol, that of <unk> where it has none."""
        return self._ids.get(symbol, self.unk())

    def bos(self) -> int:
        """Id of <s>."""
        return 0

    def pad(self) -> int:
        """Id of <pad>."""
        return 1

    def eos(self) -> int:
        """Id of </s>."""
        return 2

    def unk(self) -> int:
        """Id of <unk>."""
        return 3
