"""BERT's WordPiece in a data-bin."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from prep_helpers import SHARED_DATA, Source, folder_bytes, manifest_of, stored_pairs, stored_tokens, write_image

from data_prep.cli import main
from mvlm_plugin.data.tokenizers import load_tokenizer
from mvlm_plugin.data.wordpiece import BERT_SPECIALS
from tests.minilm_files import minilm_folder

Prepare = Callable[..., Path]
LETTERS = [mark + chr(ord("a") + number) for number in range(26) for mark in ("", "##")]
# What a vocabulary may hold beside words: a special symbol of fairseq, white space, an option of dict.txt, Cafe.
ODD = ["<s>", "<mask>", "", "a b", "\u2028", "#fairseq:overwrite", "[unused0]", "Caf\u00e9", "cafe"]
ENTRIES = [*BERT_SPECIALS.values(), *ODD, "dog", "ball", "the", *LETTERS, ".", "#"]
FLICKR = SHARED_DATA / "flickr8k"


def arguments_of(source: Source, entries: list[str] = ENTRIES) -> list[str]:
    arguments = source.write()
    place = arguments.index("--vocab-size")
    vocabulary = source.folder / "vocab.txt"
    vocabulary.write_text("".join(f"{entry}\n" for entry in entries), encoding="utf-8", newline="\n")
    return [*arguments[:place], *arguments[place + 2 :], "--tokenizer", "wordpiece", "--vocab-txt", str(vocabulary)]


def test_captions_come_back_and_odd_entries_do_no_harm(source: Source, prepare: Prepare) -> None:
    write_image(source.add("x.png", "train", ["Two DOGS. Caf\u00e9 #<s> [MASK]", "the dog \u732b"]), 60)
    databin = prepare(arguments_of(source))
    dictionary = Dictionary.load(str(databin / "dict.txt"))
    left_out = {*BERT_SPECIALS, *BERT_SPECIALS.values(), "", "a b", "\u2028"}
    assert dictionary.symbols[4:] == [entry for entry in ENTRIES if entry not in left_out]
    assert manifest_of(databin)["tokenizer"] == {"kind": "wordpiece", "vocab_size": len(dictionary)}
    texts = [text for _, text in stored_pairs(databin, "train")]
    assert texts[:2] == ["the dog number a runs to a red ball", "a brown dog and ball number a"]
    assert texts[-2:] == ["two dogs . cafe # <unk> s <unk> <unk> mask <unk>", "the dog <unk>"]
    for ids in stored_tokens(databin, "train"):
        assert ids[-1] == dictionary.eos()
        assert not {0, 1, 2} & set(ids[:-1])
    assert main(["verify", str(databin)]) == 0


def test_cased_keeps_capitals_and_accents(source: Source, prepare: Prepare) -> None:
    write_image(source.add("x.png", "train", ["dog Caf\u00e9"]), 60)
    databin = prepare(arguments_of(source), "--cased")
    assert manifest_of(databin)["tokenizer"]["kind"] == "wordpiece_cased"
    assert stored_pairs(databin, "train")[-1][1] == "dog Caf\u00e9"
    assert load_tokenizer(databin).splitter.split("THE dog") == ["[UNK]", "dog"]


def test_the_number_of_workers_changes_no_byte(source: Source, prepare: Prepare) -> None:
    arguments = [*arguments_of(source), "--part-images", "3"]
    one = prepare(arguments, "--workers", "1", name="one")
    assert folder_bytes(prepare(arguments, "--workers", "3", name="three")) == folder_bytes(one)


@pytest.mark.parametrize("options", [[], ["--cased"]])
def test_tokenizer_from_takes_it_over(source: Source, tmp_path: Path, prepare: Prepare, options: list[str]) -> None:
    first = prepare(arguments_of(source), *options, name="first")
    arguments = [*source.write(), "--tokenizer-from", str(first)]
    del arguments[arguments.index("--vocab-size") : arguments.index("--vocab-size") + 2]
    second = prepare(arguments, name="second")
    assert folder_bytes(second).keys() == folder_bytes(first).keys()
    for name in ("vocab.txt", "dict.txt", "train.text.bin"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    assert manifest_of(second)["tokenizer"] == manifest_of(first)["tokenizer"]


def test_show_prints_the_caption(source: Source, prepare: Prepare, capsys: pytest.CaptureFixture[str]) -> None:
    databin = prepare(arguments_of(source))
    assert main(["show", str(databin), "--index", "1"]) == 0
    assert "caption 1: a brown dog and ball number a\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokenizer", "wordpiece"], "--tokenizer wordpiece needs --vocab-txt as well"),
        (["--vocab-txt", "v"], "--vocab-txt need --tokenizer wordpiece, not sentencepiece"),
        (["--cased"], "--cased need --tokenizer wordpiece, not sentencepiece"),
        (["--tokenizer", "wordpiece", "--vocab-txt", "v", "--vocab-size", "9"], "--vocab-size need"),
        (["--tokenizer", "wordpiece", "--vocab-txt", "v", "--dict", "d"], "--dict need --tokenizer gpt2-bpe"),
        (["--tokenizer-from", "x", "--vocab-txt", "v"], "leave out --vocab-txt"),
        (["--tokenizer", "wordpiece", "--vocab-txt", "none.txt"], "No such file or directory: none.txt"),
        (["--tokenizer", "wordpiece", "--vocab-txt", "/dev/zero"], "is a pipe or a device"),
        (["--tokenizer", "wordpiece", "--vocab-txt", __file__], "is not a BERT vocabulary"),
    ],
)
def test_wrong_options_name_the_fix(
    source: Source, prepare: Prepare, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = arguments_of(source)
    assert not prepare([*arguments[: arguments.index("--tokenizer")], *options], status=2).exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mvlm-prep: error: ")
    assert message in error


def test_a_data_bin_that_lost_its_vocabulary_is_not_sound(
    source: Source, prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(arguments_of(source))
    (databin / "vocab.txt").unlink()
    assert main(["verify", str(databin)]) == 1
    assert "is not a BERT vocabulary" in capsys.readouterr().out


@pytest.mark.skipif(not FLICKR.is_dir(), reason="flickr8k is not in MVLM_SHARED_DATA")
def test_real_captions_hold_few_unknown_words(source: Source, prepare: Prepare) -> None:
    vocabulary = minilm_folder() / "vocab.txt"
    rows = (FLICKR / "captions.tsv").read_text(encoding="utf-8").splitlines()[:500]
    captions = [" ".join(row.split("\t")[1].split()) for row in rows]
    write_image(source.add("all.png", "train", captions), 60)
    databin = prepare([*arguments_of(source)[:-1], str(vocabulary)])
    assert manifest_of(databin)["splits"]["train"]["unknown_tokens"] == 0
    tokenizer = load_tokenizer(databin)
    assert len(tokenizer.dictionary) == 30521
    texts = [text for _, text in stored_pairs(databin, "train")][-len(captions) :]
    assert ["".join(text.split()) for text in texts] == ["".join(text.lower().split()) for text in captions]
