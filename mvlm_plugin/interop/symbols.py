"""Token embeddings by symbol: the vocabulary that lies beside foreign weights, and our dictionary's rows in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data.databin import DICTIONARY
from ..data.tokenizers import GPT2_ENCODER, WORDPIECE_VOCABULARY, load_dictionary
from ..data.wordpiece import BERT_SPECIALS, read_vocabulary
from .formats import FAIRSEQ, HUGGING_FACE_BERT, WeightFormat
from .reading import WeightsError, read_json
from .vocabulary import reorder_rows

HF_VOCABULARY = "vocab.json"
HF_TOKENIZER = "tokenizer.json"


class SourceVocabulary(NamedTuple):
    """Symbols of a source in the order of its rows, and what it calls the special symbols of our dictionary."""

    path: Path
    symbols: list[str]
    specials: Mapping[str, str]


class AlignedRows(NamedTuple):
    """Where the rows of our dictionary come from.

    rows: (V,) row of the source's embedding for each symbol; -1 where it has none.
    missing: the symbols without one.
    """

    rows: Tensor
    missing: list[str]

    def apply(self, theirs: Tensor, ours: Tensor) -> Tensor:
        """Rows of ``theirs`` (S, ...) in our order; symbols without one keep their row of ``ours`` (V, ...)."""
        found = self.rows >= 0
        aligned = ours.detach().clone()
        aligned[found] = theirs.index_select(0, self.rows[found]).to(aligned.dtype)
        return aligned


def find_vocabulary(folder: Path, source: WeightFormat, tokenizer_folder: Path) -> SourceVocabulary | None:
    """The vocabulary beside a source's weights; None where there is none.

    Args:
        folder: where the weights lie: looked for are dict.txt (fairseq), vocab.txt (BERT), vocab.json (RoBERTa) and
            tokenizer.json.
        source: format of the weights.
        tokenizer_folder: the data-bin; its encoder.json says which GPT-2 id, which is the dictionary's symbol, a
            token of RoBERTa's has.

    Raises:
        WeightsError, DataBinError: the file is damaged.
    """
    if source is FAIRSEQ:
        path = folder / DICTIONARY
        return SourceVocabulary(path, [*load_dictionary(folder).symbols, "<mask>"], {}) if path.is_file() else None
    if source is HUGGING_FACE_BERT and (folder / WORDPIECE_VOCABULARY).is_file():
        path = folder / WORDPIECE_VOCABULARY
        return SourceVocabulary(path, read_vocabulary(path), BERT_SPECIALS)
    ids: Any = None
    for name in (HF_VOCABULARY, HF_TOKENIZER):
        path = folder / name
        if path.is_file():
            ids = read_json(path) if name == HF_VOCABULARY else _tokenizer_ids(read_json(path))
            break
    if ids is None:
        return None
    symbols = _in_order(ids, path)
    if source is HUGGING_FACE_BERT:
        return SourceVocabulary(path, symbols, BERT_SPECIALS)
    encoder = tokenizer_folder / GPT2_ENCODER
    gpt2_ids = read_json(encoder) if encoder.is_file() else {}
    return SourceVocabulary(path, [str(gpt2_ids.get(symbol, symbol)) for symbol in symbols], {})


def align(vocabulary: SourceVocabulary, dictionary: Sequence[str], rows: int) -> AlignedRows:
    """Which row of a source's embedding belongs to each symbol of a dictionary.

    Args:
        vocabulary: of the source.
        dictionary: our symbols, in the order of their ids.
        rows: of the source's embedding, at least as many as its symbols.

    Raises:
        WeightsError: fewer rows than symbols.
    """
    known = set(vocabulary.symbols)
    ids = [i for i, symbol in enumerate(dictionary) if vocabulary.specials.get(symbol, symbol) in known]
    aligned = torch.full((len(dictionary),), -1, dtype=torch.int64)
    try:
        numbers = torch.arange(rows)[:, None]
        found = reorder_rows(numbers, vocabulary.symbols, [dictionary[i] for i in ids], vocabulary.specials)
    except ValueError as error:
        raise WeightsError(f"{vocabulary.path}: {error}") from error
    aligned[ids] = found[:, 0]
    missing = sorted(set(range(len(dictionary))) - set(ids))
    return AlignedRows(aligned, [dictionary[i] for i in missing])


def _tokenizer_ids(tokenizer: dict[str, Any]) -> Any:
    """Token -> id of a tokenizer.json, the added tokens included; None for models without such a table."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, dict):
        return None
    added = [token for token in tokenizer.get("added_tokens") or [] if isinstance(token, dict)]
    return {**vocabulary, **{token.get("content"): token.get("id") for token in added}}


def _in_order(ids: dict[str, Any], path: Path) -> list[str]:
    """Symbols by id; the ids must be 0, 1, 2, ... ."""
    if sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        raise WeightsError(f"{path} does not number its {len(ids)} tokens from 0 on without gaps; download it again")
    return sorted(ids, key=lambda symbol: int(ids[symbol]))
