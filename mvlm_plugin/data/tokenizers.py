"""Caption tokenizers as a data-bin stores them: text -> dictionary ids, and ids -> text.

fairseq is imported where it is used: it takes seconds, and preparation needs it for GPT-2 BPE alone.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import sentencepiece

from .databin import DICTIONARY, DataBinError, read_manifest
from .dictionary import TokenIds
from .wordpiece import WordPieceSplitter

if TYPE_CHECKING:
    from fairseq.data import Dictionary

SENTENCEPIECE_MODEL = "tokenizer.spm"
GPT2_ENCODER = "encoder.json"
GPT2_MERGES = "vocab.bpe"
WORDPIECE_VOCABULARY = "vocab.txt"
# The files a data-bin keeps of each kind of tokenizer, beside dict.txt.
TOKENIZER_FILES = {
    "sentencepiece": (SENTENCEPIECE_MODEL,),
    "gpt2_bpe": (GPT2_ENCODER, GPT2_MERGES),
    "wordpiece": (WORDPIECE_VOCABULARY,),
    "wordpiece_cased": (WORDPIECE_VOCABULARY,),
}


# For private use (Unicode): no text means anything by it.
_UNKNOWN_CHARACTER = "\ue000"


class Splitter(Protocol):
    """Splits text into the symbols of a dictionary and joins them again."""

    def split(self, text: str) -> list[str]: ...

    def split_on(self, text: str) -> list[str]:
        """Split text that goes on after other text: at its start there is a space, or there is none."""

    def join(self, symbols: Sequence[str]) -> str: ...


class SentencePieceSplitter:
    """sentencepiece model: symbols are its pieces."""

    def __init__(self, model: Path) -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        except (OSError, RuntimeError) as error:
            raise DataBinError(f"{model} is not a sentencepiece model: {error}") from error

    def split(self, text: str) -> list[str]:
        return self._processor.encode(text, out_type=str)

    def split_on(self, text: str) -> list[str]:
        # What comes first in a text gets a space before it. Here an unknown character does, which is cut off again.
        symbols = self._processor.encode(_UNKNOWN_CHARACTER + text, out_type=str)
        place = next((place for place, symbol in enumerate(symbols) if _UNKNOWN_CHARACTER in symbol), None)
        if place is None:  # a model that drops it
            return self.split(text)
        joined = symbols[place].partition(_UNKNOWN_CHARACTER)[2]  # other unknown characters
        return [*([joined] if joined else []), *symbols[place + 1 :]]

    def join(self, symbols: Sequence[str]) -> str:
        return "".join(symbols).replace("\u2581", " ").strip()


class Gpt2Splitter:
    """GPT-2 byte-level BPE through fairseq's own encoder: symbols are decimal GPT-2 ids."""

    def __init__(self, encoder_json: Path, vocab_bpe: Path) -> None:
        from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

        try:
            self._encoder = get_encoder(str(encoder_json), str(vocab_bpe))
            _check_gpt2(self._encoder)
        except (OSError, ValueError, IndexError, AttributeError, TypeError, RecursionError) as error:
            raise DataBinError(f"{encoder_json} and {vocab_bpe} are not a GPT-2 BPE: {error}") from error

    def split(self, text: str) -> list[str]:
        return [str(token) for token in self._encoder.encode(text)]

    split_on = split  # a space belongs to the word behind it, at the start of a text too

    def join(self, symbols: Sequence[str]) -> str:
        # Neighbours are decoded together: a character may be spread over several tokens.
        pieces: list[str] = []
        for known, group in groupby(symbols, key=self._is_known):
            run = list(group)
            pieces.append(self._encoder.decode([int(symbol) for symbol in run]) if known else "".join(run))
        return "".join(pieces).strip()

    def _is_known(self, symbol: str) -> bool:
        return symbol.isdecimal() and int(symbol) in self._encoder.decoder


def _check_gpt2(encoder: Any) -> None:
    """Raises ValueError unless every text gets ids: all bytes have one, and what their merges make."""
    if not all(type(number) is int and number >= 0 for number in encoder.encoder.values()):
        raise ValueError("an id is no whole number")
    wrong = next((merge for merge in encoder.bpe_ranks if len(merge) != 2), None)
    if wrong is not None:
        raise ValueError(f"the merge {' '.join(wrong)[:40]!r} is not of two symbols")
    symbols = [*encoder.byte_decoder, *map("".join, encoder.bpe_ranks)]
    missing = next((symbol for symbol in symbols if symbol not in encoder.encoder), None)
    if missing is not None:
        raise ValueError(f"the symbol {missing[:40]!r} has no id")


class CaptionTokenizer:
    """Text to ids of a fairseq dictionary and back.

    Args:
        splitter: text <-> symbols.
        dictionary: symbols <-> ids; special symbols never come out of text.
    """

    def __init__(self, splitter: Splitter, dictionary: "Dictionary | TokenIds") -> None:
        self.splitter = splitter
        self.dictionary = dictionary
        self._specials = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}

    def encode(self, text: str) -> list[int]:
        """Ids of the caption's tokens followed by </s>; unknown symbols become <unk>."""
        return [*self._ids(self.splitter.split(text)), self.dictionary.eos()]

    def encode_around(self, parts: Sequence[str], mask: int) -> list[int]:
        """Ids of a caption with the id ``mask`` between its parts, followed by </s>.

        The parts are split as in a text of one piece: a masked word has the space before it in it, and the next part
        goes on behind it. With WordPiece a part always starts a new word.
        """
        ids = self._ids(self.splitter.split(parts[0].rstrip()))
        for part in parts[1:]:
            ids += [mask, *self._ids(self.splitter.split_on(part.rstrip()))]
        return [*ids, self.dictionary.eos()]

    def _ids(self, symbols: Sequence[str]) -> list[int]:
        unk = self.dictionary.unk()
        return [unk if symbol in self._specials else self.dictionary.index(symbol) for symbol in symbols]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; <s>, </s> and padding are left out, <unk> and <mask> shown as they are."""
        hidden = {self.dictionary.bos(), self.dictionary.eos(), self.dictionary.pad()}
        return self.splitter.join([self.dictionary[i] for i in ids if i not in hidden])


def build_splitter(kind: str, folder: Path) -> Splitter:
    """The splitter whose files lie in a folder.

    Raises:
        DataBinError: unknown kind, its files are missing or damaged, or a package that it needs is not installed.
    """
    if kind == "sentencepiece":
        return SentencePieceSplitter(folder / SENTENCEPIECE_MODEL)
    if kind == "gpt2_bpe":
        return Gpt2Splitter(folder / GPT2_ENCODER, folder / GPT2_MERGES)
    if kind in ("wordpiece", "wordpiece_cased"):
        return WordPieceSplitter(folder / WORDPIECE_VOCABULARY, cased=kind == "wordpiece_cased")
    raise DataBinError(f"unknown tokenizer {kind!r}; known: {', '.join(TOKENIZER_FILES)}.")


def load_dictionary(folder: Path) -> "Dictionary":
    """The dictionary of a data-bin, without the mask symbol.

    Raises:
        DataBinError: dict.txt is missing or damaged.
    """
    from fairseq.data import Dictionary

    try:
        return Dictionary.load(str(folder / DICTIONARY))
    except Exception as error:  # fairseq raises a plain Exception on text that is not UTF-8
        raise DataBinError(f"{folder / DICTIONARY} cannot be read: {error}") from error


def load_tokenizer(folder: Path) -> CaptionTokenizer:
    """The tokenizer that a data-bin was prepared with.

    Raises:
        DataBinError: the folder is no data-bin, or its tokenizer files are missing or damaged.
    """
    kind = read_manifest(folder)["tokenizer"]["kind"]
    return CaptionTokenizer(build_splitter(kind, folder), load_dictionary(folder))
