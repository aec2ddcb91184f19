"""Token embeddings by symbol."""

import json
import os
from pathlib import Path

import pytest
import torch
from fairseq.data import Dictionary

from mvlm_plugin.interop.formats import FAIRSEQ, HUGGING_FACE_BERT, HUGGING_FACE_ROBERTA, WeightFormat
from mvlm_plugin.interop.reading import WeightsError
from mvlm_plugin.interop.symbols import align, find_vocabulary
from mvlm_plugin.interop.vocabulary import shown
from tests.helpers import make_dictionary

SHARED = Path(os.environ.get("MVLM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


def aligned_names(folder: Path, source: WeightFormat, dictionary: Dictionary, databin: Path) -> list[str]:
    """The symbol in the source of each row that our dictionary's symbols get, "-" where there is none."""
    vocabulary = find_vocabulary(folder, source, databin)
    assert vocabulary is not None
    aligned = align(vocabulary, dictionary.symbols, len(vocabulary.symbols))
    return [vocabulary.symbols[row] if row >= 0 else "-" for row in aligned.rows.tolist()]


def dictionary_of(*symbols: str) -> Dictionary:
    dictionary = Dictionary()
    for symbol in (*symbols, "<mask>"):
        dictionary.add_symbol(symbol)
    return dictionary


def test_fairseqs_dictionary_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "dict.txt").write_text("b 3\na 2\nc 1\n")
    names = aligned_names(tmp_path, FAIRSEQ, dictionary_of("a", "b", "d"), tmp_path)
    assert names == ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "-", "<mask>"]


@pytest.mark.parametrize("form", ["vocab.txt", "tokenizer.json"])
def test_berts_vocabulary_has_other_names_for_special_symbols(tmp_path: Path, form: str) -> None:
    entries = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "b", "##a"]
    if form == "vocab.txt":
        (tmp_path / form).write_text("\n".join(entries) + "\n")
    else:
        vocabulary = {entry: number for number, entry in enumerate(entries[:-1])}
        added = [{"id": 7, "content": "##a"}]
        (tmp_path / form).write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added}))
    names = aligned_names(tmp_path, HUGGING_FACE_BERT, dictionary_of("##a", "b"), tmp_path)
    assert names == ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "##a", "b", "[MASK]"]


def test_robertas_tokens_are_found_by_their_gpt2_ids(tmp_path: Path) -> None:
    tokens = ["<s>", "<pad>", "</s>", "<unk>", ".", "Ġthe", "madeupword0000", "<mask>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    databin = tmp_path / "data-bin"
    databin.mkdir()
    (databin / "encoder.json").write_text(json.dumps({".": 13, "Ġthe": 262, "Ġof": 286}))
    names = aligned_names(tmp_path, HUGGING_FACE_ROBERTA, dictionary_of("262", "13", "286", "madeupword0000"), databin)
    assert names == ["<s>", "<pad>", "</s>", "<unk>", "262", "13", "-", "madeupword0000", "<mask>"]


def test_the_released_robertas_tokens_have_the_dictionarys_numbers(tmp_path: Path) -> None:
    """transformers numbers RoBERTa's tokens as fairseq's dict.txt does: its vocab.json is made from the same files."""
    folder = SHARED / "gpt2_bpe"
    if not folder.is_dir():
        pytest.skip("needs gpt2_bpe in MVLM_SHARED_DATA")
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    dictionary.add_symbol("<mask>")
    tokens = {str(number): token for token, number in json.loads((folder / "encoder.json").read_text()).items()}
    vocabulary = {tokens.get(symbol, symbol): number for number, symbol in enumerate(dictionary.symbols)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    found = find_vocabulary(tmp_path, HUGGING_FACE_ROBERTA, folder)
    assert found is not None
    aligned = align(found, dictionary.symbols, 50265)
    assert aligned.missing == []
    assert torch.equal(aligned.rows, torch.arange(50265))


def test_rows_without_a_source_keep_ours(tmp_path: Path) -> None:
    (tmp_path / "dict.txt").write_text("b 3\na 2\n")
    vocabulary = find_vocabulary(tmp_path, FAIRSEQ, tmp_path)
    assert vocabulary is not None
    aligned = align(vocabulary, ["a", "new", "b"], 7)
    assert aligned.missing == ["new"]
    theirs, ours = torch.arange(7.0)[:, None], torch.tensor([[-1.0], [-2.0], [-3.0]])
    assert aligned.apply(theirs, ours).tolist() == [[5.0], [-2.0], [4.0]]
    with pytest.raises(WeightsError, match=r"dict\.txt: a vocabulary of 7 does not fit an embedding of 6 rows"):
        align(vocabulary, ["a"], 6)


def test_no_vocabulary_and_damaged_ones(tmp_path: Path) -> None:
    for source in (FAIRSEQ, HUGGING_FACE_BERT, HUGGING_FACE_ROBERTA):
        assert find_vocabulary(tmp_path, source, tmp_path) is None
    for content in ('{"a": 0, "b": 2}', '{"a": 0, "b": 0}', '{"a": "x"}', '{"a": [0]}'):
        (tmp_path / "vocab.json").write_text(content)
        with pytest.raises(WeightsError, match="without gaps; download it again"):
            find_vocabulary(tmp_path, HUGGING_FACE_ROBERTA, tmp_path)


def test_long_lists_are_cut() -> None:
    assert shown(make_dictionary().symbols[:2]) == "'<s>', '<pad>'"
    assert shown([str(number) for number in range(25)]).endswith("'19' and 5 more")
