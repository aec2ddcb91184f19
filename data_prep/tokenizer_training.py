"""Puts a tokenizer into a data-bin: trained on its captions, given as GPT-2 or BERT files, or from another data-bin."""

import io
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import sentencepiece

from mvlm_plugin.data.databin import DICTIONARY, read_manifest, shard_folders
from mvlm_plugin.data.dictionary import TokenIds
from mvlm_plugin.data.tokenizers import (
    GPT2_ENCODER,
    GPT2_MERGES,
    SENTENCEPIECE_MODEL,
    TOKENIZER_FILES,
    WORDPIECE_VOCABULARY,
    CaptionTokenizer,
    build_splitter,
)
from mvlm_plugin.data.wordpiece import WordPieceSplitter, dictionary_symbols, read_vocabulary

from .files import sha256_of
from .records import PrepError

DEFAULT_VOCAB_SIZE = 8000
# More would cost memory that grows with them, and change the pieces little.
_MAX_TRAINING_CAPTIONS = 200_000
# Where there are more distinct characters than this, the rarest become <unk>.
_SMALL_ALPHABET = 1000
# Pieces that are no characters of the captions, at most.
_NO_CHARACTERS = 8
# Fixed: the trained model depends on it.
_THREADS = 4
# The dictionary has these itself.
_SPECIAL_PIECES = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}


class TokenizerSource(Protocol):
    """Where the tokenizer of a new data-bin comes from."""

    @property
    def kind(self) -> str:
        """A key of TOKENIZER_FILES."""

    @property
    def needs_training(self) -> bool:
        """Whether captions of a train split are needed: the files are then made by train_tokenizer()."""

    def request(self) -> dict[str, Any]:
        """What decides the outcome, for the manifest; also checks the files, so that errors come early."""

    def install(self, folder: Path) -> None:
        """Copy the tokenizer files and dict.txt into folder, where they are given."""


@dataclass(frozen=True)
class TrainCaptions:
    """The captions that a tokenizer is trained on: all, or evenly spaced ones where there are very many.

    Attributes:
        paths: files of one caption a line.
        count: lines in all files together.
        alphabet: other characters are left out; None leaves the captions as they are.
    """

    paths: list[Path]
    count: int
    alphabet: frozenset[str] | None = None

    def __iter__(self) -> Iterator[str]:
        lines = chain.from_iterable(map(read_lines, self.paths))
        for position, line in enumerate(lines):
            if (position * _MAX_TRAINING_CAPTIONS) % max(self.count, 1) < _MAX_TRAINING_CAPTIONS:
                yield line if self.alphabet is None else "".join(filter(self.alphabet.__contains__, _normalised(line)))


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a captions file without their line breaks."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def installed_tokenizer(kind: str, folder: Path) -> CaptionTokenizer:
    """The tokenizer whose files lie in a folder that has no manifest yet."""
    return CaptionTokenizer(build_splitter(kind, folder), TokenIds(folder / DICTIONARY))


@dataclass(frozen=True)
class TrainedSentencePiece:
    """A case-folding unigram sentencepiece model, trained on the train captions.

    Attributes:
        vocab_size: upper limit of the number of pieces; small corpora give fewer.
    """

    vocab_size: int
    kind: str = "sentencepiece"
    needs_training: bool = True

    def request(self) -> dict[str, Any]:
        return {"kind": self.kind, "vocab_size": self.vocab_size}

    def install(self, folder: Path) -> None:
        """Nothing is given."""


def train_tokenizer(folder: Path, captions: TrainCaptions, vocab_size: int) -> None:
    """Train a sentencepiece model and write it and dict.txt into folder.

    Raises:
        PrepError: sentencepiece cannot make so many pieces of the captions.
    """
    model = io.BytesIO()
    captions, coverage = _fitting(captions, vocab_size)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=chain(captions, _repeated_words(captions)),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="nmt_nfkc_cf",
            character_coverage=coverage,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise PrepError(
            f"sentencepiece cannot train {vocab_size} pieces on {captions.count} captions ({error}): "
            "try another --vocab-size, more captions, or --tokenizer-from DATABIN"
        ) from error
    (folder / SENTENCEPIECE_MODEL).write_bytes(model.getvalue())
    _write_dictionary(model.getvalue(), folder / DICTIONARY)


def _repeated_words(captions: TrainCaptions) -> list[str]:
    """Words that occur twice or more, each to stand alone on one more line.

    sentencepiece considers a piece only where different characters follow it. In a small corpus, a word is always
    followed by a space, and would be spelled in letters.
    """
    counts: Counter[str] = Counter()
    for line in captions:
        counts.update(line.split())
    return [word for word, occurrences in counts.items() if occurrences > 1]


def _fitting(captions: TrainCaptions, vocab_size: int) -> tuple[TrainCaptions, float]:
    """Captions to train on, and the share of their characters that become pieces: never more than there may be."""
    counts: Counter[str] = Counter()
    for line in captions:
        counts.update(_normalised(line))
    coverage = 1.0 if len(counts) <= _SMALL_ALPHABET else 0.9995
    frequent = counts.most_common(max(1, vocab_size - _NO_CHARACTERS))
    if sum(count for _, count in frequent) >= coverage * counts.total():
        return captions, coverage
    return replace(captions, alphabet=frozenset(character for character, _ in frequent)), 1.0


def _normalised(line: str) -> str:
    """Nearly what the model makes of a caption before it looks for pieces."""
    return line if line.isascii() else unicodedata.normalize("NFKC", line).casefold()


def _write_dictionary(model: bytes, path: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
    _write_symbols([piece for piece in pieces if piece not in _SPECIAL_PIECES], path)


def _write_symbols(symbols: list[str], path: Path) -> None:
    path.write_text("".join(f"{symbol} 1\n" for symbol in symbols), encoding="utf-8", newline="\n")


@dataclass(frozen=True)
class GivenGpt2:
    """GPT-2 byte-level BPE from given files.

    Attributes:
        encoder_json, vocab_bpe, dictionary: fairseq's encoder.json, vocab.bpe and dict.txt.
    """

    encoder_json: Path
    vocab_bpe: Path
    dictionary: Path
    kind: str = "gpt2_bpe"
    needs_training: bool = False

    def request(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: sha256_of(str(path)) for name, path in self._files().items()}}

    def install(self, folder: Path) -> None:
        for name, path in self._files().items():
            shutil.copyfile(path, folder / name)

    def _files(self) -> dict[str, Path]:
        return {GPT2_ENCODER: self.encoder_json, GPT2_MERGES: self.vocab_bpe, DICTIONARY: self.dictionary}


@dataclass(frozen=True)
class GivenWordPiece:
    """BERT's WordPiece from a given vocabulary.

    Attributes:
        vocabulary: a vocab.txt of BERT.
        cased: keep capitals and accents.
    """

    vocabulary: Path
    cased: bool
    needs_training: bool = False

    @property
    def kind(self) -> str:
        return "wordpiece_cased" if self.cased else "wordpiece"

    def request(self) -> dict[str, Any]:
        digest = sha256_of(str(self.vocabulary))
        WordPieceSplitter(self.vocabulary, self.cased)
        return {"kind": self.kind, WORDPIECE_VOCABULARY: digest}

    def install(self, folder: Path) -> None:
        shutil.copyfile(self.vocabulary, folder / WORDPIECE_VOCABULARY)
        _write_symbols(dictionary_symbols(read_vocabulary(self.vocabulary)), folder / DICTIONARY)


@dataclass(frozen=True)
class CopiedTokenizer:
    """The tokenizer of another data-bin, so that both have the same token ids.

    Attributes:
        databin: the other data-bin.
    """

    databin: Path
    needs_training: bool = False

    @property
    def kind(self) -> str:
        return read_manifest(self._folder())["tokenizer"]["kind"]

    def request(self) -> dict[str, Any]:
        installed_tokenizer(self.kind, self._folder())
        return {"kind": self.kind, **{name: sha256_of(str(self._folder() / name)) for name in self._names()}}

    def install(self, folder: Path) -> None:
        for name in self._names():
            shutil.copyfile(self._folder() / name, folder / name)

    def _folder(self) -> Path:
        """The data-bin, or the first shard of it."""
        return shard_folders(self.databin)[0]

    def _names(self) -> list[str]:
        return [*TOKENIZER_FILES[self.kind], DICTIONARY]
