import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.wordpiece import MAX_VOCABULARY_BYTES, WordPieceSplitter, dictionary_symbols, read_vocabulary
from tests.minilm_files import minilm_folder

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["a", "the", "dog", "play", "##ing", "##s", "The", "cafe", "caf\u00e9", "\u4f60", "\u597d", ",", ".", "#"]
LETTERS = [mark + letter for letter in "bdefgoxyzA" for mark in ("", "##")]
NASTY = [
    "",
    " \t\u3000 ",
    "the dogs, playing.",
    "The CAF\u00c9 cafe\u0301 caf\u00e9 \u00c5ngstr\u00f6m na\u00efve \u0130stanbul",
    "dog\u4f60\u597ddog \uff21\uff22 \u3053\u3093\u306b\u3061\u306f \ud55c\uad6d\uc5b4 \u2f00",
    "don't re-enter: (a) [b] {c} <d> \u00abe\u00bb \u2014 f/g\\h | 3.14 50% $9 \u20ac5 @x #tag ##ing ^_^ ~`",
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101 + " " + "z" * 5000,
    "\U0001f600 dog\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "\x00a\x07b\ufffdc\u200bd\u00ade\u2028f\u0085g\u00a0h\u202eabc",
    "a\u0300\u0301\u0302 \u0e01\u0e33 \u0928\u092e\u0938\u094d\u0924\u0947 \u0645\u0631\u062d\u0628\u0627",
    "<s> </s> <pad> <unk> <mask> [PAD",
]


def write_vocabulary(folder: Path) -> Path:
    lines = "".join(f"{entry}\n" for entry in [*SPECIALS, *WORDS, *LETTERS])
    (folder / "vocab.txt").write_text(lines, encoding="utf-8", newline="\n")
    return folder / "vocab.txt"


@pytest.mark.parametrize("cased", [False, True])
def test_splits_are_those_of_transformers(tmp_path: Path, transformers: ModuleType, cased: bool) -> None:
    splitter = WordPieceSplitter(write_vocabulary(tmp_path), cased)
    config = {"do_lower_case": not cased, "tokenizer_class": "BertTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    reference = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    for text in NASTY:
        assert splitter.split(text) == reference.tokenize(text)


def test_splits_with_a_real_vocabulary_are_those_of_transformers(transformers: ModuleType) -> None:
    folder = minilm_folder()
    splitter = WordPieceSplitter(folder / "vocab.txt", cased=False)
    reference = transformers.BertTokenizerFast.from_pretrained(folder)
    for text in NASTY:
        assert splitter.split(text) == reference.tokenize(text)
    assert splitter.split("Playhouses unaffable") == ["playhouse", "##s", "una", "##ffa", "##ble"]


def test_case_and_accents_are_kept_only_where_asked_for(tmp_path: Path) -> None:
    vocabulary = write_vocabulary(tmp_path)
    assert WordPieceSplitter(vocabulary, cased=False).split("The caf\u00e9") == ["the", "cafe"]
    assert WordPieceSplitter(vocabulary, cased=True).split("The caf\u00e9") == ["The", "caf\u00e9"]


def test_special_words_of_bert_in_a_text_are_words(tmp_path: Path) -> None:
    splitter = WordPieceSplitter(write_vocabulary(tmp_path), cased=False)
    assert splitter.split("[MASK] dog [SEP]") == ["[UNK]", "[UNK]", "[UNK]", "dog", "[UNK]", "[UNK]", "[UNK]"]


def test_continuations_are_joined(tmp_path: Path) -> None:
    splitter = WordPieceSplitter(write_vocabulary(tmp_path), cased=False)
    assert splitter.join(["the", "play", "##ing", "dog", "##s", "."]) == "the playing dogs ."
    assert splitter.join(["<mask>", "##ing", "##s", "<unk>"]) == "<mask>ings <unk>"
    assert splitter.join(["##ing"]) == "##ing"
    assert splitter.join([]) == ""


def test_an_entrys_number_is_its_line_whatever_ends_the_lines(tmp_path: Path) -> None:
    entries = ["[UNK]", "", "a b", "\u2028", "x\u0085", "##\u00a0", "dog"]
    path = tmp_path / "vocab.txt"
    for text in ("\n".join(entries), "\n".join(entries) + "\n", "\r\n".join(entries) + "\r\n", "\ufeff[UNK]"):
        path.write_bytes(text.encode())
        assert read_vocabulary(path) == (entries if "dog" in text else ["[UNK]"])
    assert dictionary_symbols(entries) == ["dog"]


def test_special_symbols_are_left_to_the_dictionary() -> None:
    entries = ["[PAD]", "[unused1]", "<s>", "dog", "<mask>", "[UNK]", "##s", "#fairseq:overwrite", "[MASK]", "</s>"]
    assert dictionary_symbols(entries) == ["[unused1]", "dog", "##s", "#fairseq:overwrite"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no entry \[UNK\]"),
        (b"[PAD]\ndog\n", r"no entry \[UNK\]"),
        (b"[UNK]\n\xff\xfe\n", "utf-8"),
        (b"[UNK]\ndog\ncat\ndog\n", "'dog' is there twice, in lines 2 and 4"),
        (b"[UNK]\n" + MAX_VOCABULARY_BYTES * b"x", "more than 16 MiB"),
        (b'{"[UNK]": 0}', r"no entry \[UNK\]"),
        (None, "No such file"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataBinError, match=rf"vocab\.txt is not a BERT vocabulary: .*{message}"):
        WordPieceSplitter(path, cased=False)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataBinError, match=r"pip install 'mvlm-plugin\[lite\]'"):
        WordPieceSplitter(write_vocabulary(tmp_path), cased=False)
