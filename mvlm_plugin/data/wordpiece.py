"""BERT's WordPiece (Devlin et al., 2019): its vocab.txt, and how it cuts text into the entries of that file."""

from collections.abc import Sequence
from pathlib import Path

from .databin import DataBinError

# What BERT calls the symbols that a fairseq dictionary has by itself, and the mask symbol that the task adds.
BERT_SPECIALS = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
CONTINUATION = "##"
# BERT's takes 0.2 MiB, multilingual ones some; one of 59 MiB took 4 GB of memory in a worker process.
MAX_VOCABULARY_BYTES = 16 * 2**20


def read_vocabulary(path: Path) -> list[str]:
    """Entries of a vocab.txt, one a line; the number of an entry is its row in the model's token embedding.

    Raises:
        DataBinError: it is missing, empty, damaged, or no BERT vocabulary.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_VOCABULARY_BYTES + 1)
        if len(content) > MAX_VOCABULARY_BYTES:
            raise ValueError(f"it has more than {MAX_VOCABULARY_BYTES >> 20} MiB")
        # Only line feeds end an entry: vocabularies hold other characters that Unicode takes for line ends.
        lines = content.decode("utf-8-sig").removesuffix("\n").split("\n")
        entries = [line.removesuffix("\r") for line in lines]
        _check(entries)
    except (OSError, ValueError) as error:
        raise DataBinError(f"{path} is not a BERT vocabulary: {error}") from error
    return entries


def _check(entries: list[str]) -> None:
    first_line: dict[str, int] = {}
    for number, entry in enumerate(entries, start=1):
        if first_line.setdefault(entry, number) != number:
            raise ValueError(f"{entry[:40]!r} is there twice, in lines {first_line[entry]} and {number}")
    if BERT_SPECIALS["<unk>"] not in first_line:
        raise ValueError(f"it has no entry {BERT_SPECIALS['<unk>']}")


def dictionary_symbols(entries: Sequence[str]) -> list[str]:
    """The entries that a fairseq dictionary takes, in their order.

    Left out are special symbols, which the dictionary has by itself, and what no text can ever give: the empty entry,
    and entries with white space in them, for which dict.txt has no notation.
    """
    special = {*BERT_SPECIALS, *BERT_SPECIALS.values()}
    return [entry for entry in entries if entry.split() == [entry] and entry not in special]


class WordPieceSplitter:
    """BERT's tokenizer: symbols are entries of its vocabulary, "[UNK]" where no entries make up a word.

    Special symbols in a text are words like others.

    Args:
        vocabulary: a vocab.txt.
        cased: keep capitals and accents, as BERT's cased models do.

    Raises:
        DataBinError: the vocabulary is missing or damaged, or the package tokenizers is not installed.
    """

    def __init__(self, vocabulary: Path, cased: bool) -> None:
        try:
            from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        except ImportError as error:
            raise DataBinError(
                "WordPiece needs the package tokenizers, which is not installed: pip install 'mvlm-plugin[lite]'"
            ) from error

        rows = {entry: row for row, entry in enumerate(read_vocabulary(vocabulary))}
        self._tokenizer = Tokenizer(models.WordPiece(rows, unk_token=BERT_SPECIALS["<unk>"]))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def split(self, text: str) -> list[str]:
        return self._tokenizer.encode(text).tokens

    split_on = split  # a space is in no entry

    def join(self, symbols: Sequence[str]) -> str:
        return " ".join(symbols).replace(f" {CONTINUATION}", "")
