import shutil
from pathlib import Path

import pytest
from fairseq.data import Dictionary

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.tokenizers import (
    CaptionTokenizer,
    SentencePieceSplitter,
    build_splitter,
    load_dictionary,
    load_tokenizer,
)
from tests.tokenizer_folders import TEXTS, write_gpt2, write_sentencepiece, write_wordpiece

SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
HOSTILE = ["</s> <mask>", "<s><pad></s>", "a <unk> dog", "x<mask>y </s>", "<MASK> < mask >", *SPECIALS]


@pytest.fixture(scope="module")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentencepiece(tmp_path_factory.mktemp("sentencepiece"))


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def wordpiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wordpiece(tmp_path_factory.mktemp("wordpiece"))


@pytest.fixture(params=["sentencepiece", "gpt2", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest) -> CaptionTokenizer:
    return load_tokenizer(request.getfixturevalue(f"{request.param}_folder"))


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_the_text_back(tokenizer: CaptionTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.dictionary.unk() not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([tokenizer.dictionary.bos(), *ids, tokenizer.dictionary.pad()]) == text


def test_a_caption_ends_with_its_end_and_holds_no_other(tokenizer: CaptionTokenizer) -> None:
    for text in [*TEXTS, *HOSTILE, ""]:
        ids = tokenizer.encode(text)
        assert ids[-1] == tokenizer.dictionary.eos()
        assert tokenizer.dictionary.eos() not in ids[:-1]
    assert tokenizer.encode("") == [tokenizer.dictionary.eos()]


@pytest.mark.parametrize("text", HOSTILE)
def test_special_symbols_in_a_text_never_become_special(tokenizer: CaptionTokenizer, text: str) -> None:
    dictionary = tokenizer.dictionary
    mask = dictionary.add_symbol("<mask>")
    assert not {dictionary.bos(), dictionary.pad(), dictionary.eos(), mask} & set(tokenizer.encode(text)[:-1])


def test_a_splitter_that_gives_special_symbols_is_not_believed() -> None:
    class Words:
        def split(self, text: str) -> list[str]:
            return text.split()

        def join(self, symbols: list[str]) -> str:
            return " ".join(symbols)

    dictionary = Dictionary()
    dictionary.add_symbol("dog")
    dictionary.add_symbol("<mask>")
    unk, dog = dictionary.unk(), dictionary.index("dog")
    ids = CaptionTokenizer(Words(), dictionary).encode("<s> dog <pad> </s> <unk> <mask> cat")
    assert ids == [unk, dog, unk, unk, unk, unk, unk, dictionary.eos()]


def test_letters_of_several_bytes_come_back(gpt2_folder: Path) -> None:
    tokenizer = load_tokenizer(gpt2_folder)
    text = "caf\u00e9 \u4f60\u597d \U0001f600"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_are_used(gpt2_folder: Path) -> None:
    tokenizer = load_tokenizer(gpt2_folder)
    assert len(tokenizer.encode("red")) == 2
    assert len(tokenizer.encode("rex")) == 3


@pytest.mark.parametrize(
    ("before", "word", "after"),
    [
        ("", "two", " dogs play"),
        ("two dogs play with a ", "small", " ball"),
        ("two dogs play on the ", "grass", ""),
        ("a red ", "square", ", a blue circle"),
        ("a ", "red", "  square "),
    ],
)
def test_around_a_mask_the_tokens_are_those_of_the_whole_text(
    tokenizer: CaptionTokenizer, before: str, word: str, after: str
) -> None:
    mask = tokenizer.dictionary.add_symbol("<mask>")
    ids, whole = tokenizer.encode_around([before, after], mask), tokenizer.encode(f"{before}{word}{after.rstrip()}")
    left, right = ids[: ids.index(mask)], ids[ids.index(mask) + 1 :]
    assert whole[: len(left)] == left
    assert whole[-len(right) :] == right
    assert whole[len(left) : -len(right)] == tokenizer.encode(f"{before}{word}")[len(left) : -1]


def test_masks_may_follow_one_another(tokenizer: CaptionTokenizer) -> None:
    mask, eos = tokenizer.dictionary.add_symbol("<mask>"), tokenizer.dictionary.eos()
    assert tokenizer.encode_around(["", " ", ""], mask) == [mask, mask, eos]
    assert tokenizer.encode_around(["a ", " ", " dog"], mask).count(mask) == 2
    assert tokenizer.encode_around(["a dog"], mask) == tokenizer.encode("a dog")


def test_the_space_before_a_masked_word_is_masked_with_it(gpt2_folder: Path) -> None:
    tokenizer = load_tokenizer(gpt2_folder)
    mask = tokenizer.dictionary.add_symbol("<mask>")
    assert tokenizer.encode_around(["a ", " b"], mask) == [*tokenizer.encode("a")[:-1], mask, *tokenizer.encode(" b")]


def test_behind_a_mask_unknown_letters_stay(sentencepiece_folder: Path) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    mask, unk = tokenizer.dictionary.add_symbol("<mask>"), tokenizer.dictionary.unk()
    assert tokenizer.encode_around(["", "\u4f60 a"], mask)[:2] == [mask, unk]


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
def test_letters_that_the_model_does_not_know_become_unknown(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = load_tokenizer(request.getfixturevalue(f"{kind}_folder"))
    ids = tokenizer.encode("a \u4f60 dog")
    assert tokenizer.dictionary.unk() in ids
    assert "<unk>" in tokenizer.decode(ids)


def test_masked_words_are_shown(sentencepiece_folder: Path) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder)
    ids = tokenizer.encode("a red square")
    mask = tokenizer.dictionary.add_symbol("<mask>")
    assert "<mask>" in tokenizer.decode([ids[0], mask, *ids[2:]])


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.spm").write_bytes(b"spam")
    with pytest.raises(DataBinError, match="is not a sentencepiece model"):
        SentencePieceSplitter(tmp_path / "tokenizer.spm")
    with pytest.raises(DataBinError, match="is not a sentencepiece model"):
        SentencePieceSplitter(tmp_path / "none.spm")


@pytest.mark.parametrize("name", ["encoder.json", "vocab.bpe"])
@pytest.mark.parametrize("content", [None, "{", "[]", "one two three four"])
def test_damaged_gpt2_files_are_refused(gpt2_folder: Path, tmp_path: Path, name: str, content: str | None) -> None:
    for file in ("encoder.json", "vocab.bpe"):
        shutil.copy(gpt2_folder / file, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    elif name == "vocab.bpe":
        (tmp_path / name).write_bytes(b"\xff\xfe\xfa")
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataBinError, match="are not a GPT-2 BPE"):
        build_splitter("gpt2_bpe", tmp_path)


def test_an_unknown_kind_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match="unknown tokenizer 'words'; known: sentencepiece, gpt2_bpe"):
        build_splitter("words", tmp_path)


def test_a_missing_or_damaged_dictionary_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match=r"dict\.txt cannot be read"):
        load_dictionary(tmp_path)
    (tmp_path / "dict.txt").write_text("word without a count\n")
    with pytest.raises(DataBinError, match=r"dict\.txt cannot be read"):
        load_dictionary(tmp_path)
