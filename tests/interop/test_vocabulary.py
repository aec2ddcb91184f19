import pytest
import torch
from fairseq.data import Dictionary

from mvlm_plugin.data.wordpiece import BERT_SPECIALS
from mvlm_plugin.interop.vocabulary import MissingSymbolsError, reorder_rows

SOURCE = ["[PAD]", "dog", "[UNK]", "[CLS]", "[SEP]", "cat", "[MASK]", "##s"]
WEIGHT = torch.arange(len(SOURCE) * 3, dtype=torch.float64).view(-1, 3)


def dictionary_of(*words: str) -> Dictionary:
    dictionary = Dictionary()
    for word in [*words, "<mask>"]:
        dictionary.add_symbol(word)
    return dictionary


def test_every_symbol_gets_its_row() -> None:
    rows = reorder_rows(WEIGHT, SOURCE, dictionary_of("cat", "##s", "dog"), BERT_SPECIALS)
    # <s>, <pad>, </s>, <unk>, cat, ##s, dog, <mask>
    assert torch.equal(rows, WEIGHT[[3, 0, 4, 2, 5, 7, 1, 6]])
    assert rows.dtype == WEIGHT.dtype


def test_rows_behind_the_vocabulary_are_not_used() -> None:
    padded = torch.cat([WEIGHT, torch.full((5, 3), 99.0)])
    dictionary = dictionary_of("dog")
    assert torch.equal(
        reorder_rows(padded, SOURCE, dictionary, BERT_SPECIALS), reorder_rows(WEIGHT, SOURCE, dictionary, BERT_SPECIALS)
    )


def test_symbols_without_a_row_are_named() -> None:
    with pytest.raises(MissingSymbolsError, match=r"^2 of 8 symbols have no row .*: 'horse', 'cow'; prepare"):
        reorder_rows(WEIGHT, SOURCE, dictionary_of("horse", "dog", "cow"), BERT_SPECIALS)
    with pytest.raises(MissingSymbolsError, match=r"'\[MASK\]'"):
        reorder_rows(WEIGHT[:6], SOURCE[:6], dictionary_of("dog"), BERT_SPECIALS)
    with pytest.raises(MissingSymbolsError, match=r"'w19' and 80 more;"):
        reorder_rows(WEIGHT, SOURCE, dictionary_of(*(f"w{number}" for number in range(100))), BERT_SPECIALS)


def test_an_embedding_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary of 8 does not fit an embedding of 7 rows"):
        reorder_rows(WEIGHT[:7], SOURCE, dictionary_of("dog"), BERT_SPECIALS)
