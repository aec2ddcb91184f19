"""Folders with small tokenizers of each kind, as a data-bin keeps them; no captions and no images."""

import json
from pathlib import Path

import sentencepiece
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from mvlm_plugin.data.databin import FORMAT_VERSION
from mvlm_plugin.data.wordpiece import dictionary_symbols

TEXTS = [
    "a red square above a blue circle",
    "two dogs play with a small ball on the grass",
    "a man rides a horse along the beach at dusk",
    "the circle is left of the green triangle",
]


def write_manifest(folder: Path, kind: str) -> None:
    (folder / "manifest.json").write_text(
        json.dumps({"format_version": FORMAT_VERSION, "splits": {}, "tokenizer": {"kind": kind}})
    )


def write_sentencepiece(folder: Path) -> Path:
    """A model of at most 60 pieces, trained on TEXTS."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(TEXTS * 5))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    (folder / "tokenizer.model").rename(folder / "tokenizer.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.spm"))
    dictionary = Dictionary()
    for piece in range(processor.get_piece_size()):
        if not processor.is_control(piece) and not processor.is_unknown(piece):
            dictionary.add_symbol(processor.id_to_piece(piece))
    dictionary.save(str(folder / "dict.txt"))
    write_manifest(folder, "sentencepiece")
    return folder


def write_gpt2(folder: Path) -> Path:
    """A byte-level BPE with two merges: "re" and "red"."""
    symbols = [*bytes_to_unicode().values(), "re", "red"]
    (folder / "encoder.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nr e\nre d\n", encoding="utf-8")
    dictionary = Dictionary()
    for i in range(len(symbols)):
        dictionary.add_symbol(str(i))
    dictionary.save(str(folder / "dict.txt"))
    write_manifest(folder, "gpt2_bpe")
    return folder


def write_wordpiece(folder: Path) -> Path:
    """Single letters, each at the start of a word or behind others; marks; one whole word."""
    letters = [mark + chr(ord("a") + number) for number in range(26) for mark in ("", "##")]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", *letters, *"<>/[]"]
    (folder / "vocab.txt").write_text("\n".join(entries))
    dictionary = Dictionary()
    for symbol in dictionary_symbols(entries):
        dictionary.add_symbol(symbol)
    dictionary.save(str(folder / "dict.txt"))
    write_manifest(folder, "wordpiece")
    return folder
