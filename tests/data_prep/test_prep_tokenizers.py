"""Tokenizers of a data-bin: fairseq's own GPT-2 ids, trained sentencepiece, and one tokenizer for two data-bins."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe import GPT2BPE, GPT2BPEConfig
from prep_helpers import SHARED_DATA, Source, stored_pairs, stored_tokens, write_image

from data_prep.tokenizer_training import TrainCaptions, installed_tokenizer, train_tokenizer

GPT2 = SHARED_DATA / "gpt2_bpe"
FLICKR = SHARED_DATA / "flickr8k"
needs_shared_data = pytest.mark.skipif(
    not (GPT2.is_dir() and FLICKR.is_dir()), reason="gpt2_bpe and flickr8k are not in MVLM_SHARED_DATA"
)
GPT2_OPTIONS = [
    "--tokenizer", "gpt2-bpe", "--encoder-json", str(GPT2 / "encoder.json"),
    "--vocab-bpe", str(GPT2 / "vocab.bpe"), "--dict", str(GPT2 / "dict.txt"),
]  # fmt: skip


def without_vocab_size(arguments: list[str]) -> list[str]:
    place = arguments.index("--vocab-size")
    return arguments[:place] + arguments[place + 2 :]


@needs_shared_data
def test_gpt2_ids_are_those_of_fairseq(source: Source, prepare: Callable[..., Path]) -> None:
    rows = (FLICKR / "captions.tsv").read_text(encoding="utf-8").splitlines()[:500]
    captions = [" ".join(row.split("\t")[1].split()) for row in rows] + ["Na\u00efve \u732b \U0001f600 <unk> </s> 3.14"]
    write_image(source.add("all.png", "train", captions), 60)
    databin = prepare([*without_vocab_size(source.write()), *GPT2_OPTIONS])
    config = GPT2BPEConfig(gpt2_encoder_json=str(GPT2 / "encoder.json"), gpt2_vocab_bpe=str(GPT2 / "vocab.bpe"))
    bpe = GPT2BPE(config)
    dictionary = Dictionary.load(str(GPT2 / "dict.txt"))
    expected = [
        dictionary.encode_line(bpe.encode(text), append_eos=True, add_if_not_exist=False).tolist() for text in captions
    ]
    assert stored_tokens(databin, "train")[-501:] == expected
    assert [text for _, text in stored_pairs(databin, "train")][-501:] == captions


def test_sentencepiece_reads_back_case_folded(source: Source, prepare: Callable[..., Path]) -> None:
    write_image(source.add("x.png", "train", ["The DOG runs", "\uff21 dog"]), 60)
    databin = prepare(source.write())
    assert [text for _, text in stored_pairs(databin, "train")][-2:] == ["the dog runs", "a dog"]
    for ids in stored_tokens(databin, "train"):
        assert ids[-1] == 2
        assert not {0, 1, 2} & set(ids[:-1])


def test_only_train_captions_train_the_tokenizer(source: Source, prepare: Callable[..., Path]) -> None:
    write_image(source.add("x.png", "val", ["\u732b zebra zebra"]), 60)
    databin = prepare(source.write())
    assert "z" not in (databin / "dict.txt").read_text()
    entry = json.loads((databin / "manifest.json").read_text())["splits"]["valid"]
    assert entry["unknown_tokens"] > 0


def test_special_words_in_captions_break_nothing(source: Source, prepare: Callable[..., Path]) -> None:
    texts = ["</s> <s> <pad> <unk> <mask>", "a #fairseq:overwrite 1", "x 1", "\u2581 \u2028 \u3000 q"]
    write_image(source.add("x.png", "train", texts * 10), 60)
    databin = prepare(source.write())
    assert len(Dictionary.load(str(databin / "dict.txt"))) > 10
    for ids in stored_tokens(databin, "train"):
        assert not {0, 1, 2} & set(ids[:-1])


def test_tokenizer_from_gives_identical_ids(source: Source, tmp_path: Path, prepare: Callable[..., Path]) -> None:
    first = prepare(source.write(), name="first")
    rest = Source(tmp_path / "other")
    for image, caption in source.captions[:6]:
        rest.captions.append((image, caption))
        rest.splits[image] = "test"
        (rest.folder / image).write_bytes((source.folder / image).read_bytes())
    second = prepare([*without_vocab_size(rest.write()), "--tokenizer-from", str(first)], name="second")
    assert stored_tokens(second, "test") == stored_tokens(first, "train")[:6]
    assert (second / "dict.txt").read_bytes() == (first / "dict.txt").read_bytes()


def test_no_train_split_needs_tokenizer_from(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source.splits = dict.fromkeys(source.splits, "test")
    assert not prepare(source.write(), status=2).exists()
    assert "--tokenizer-from DATABIN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokenizer", "gpt2-bpe", "--dict", "d"], "needs --encoder-json, --vocab-bpe"),
        (["--dict", "d"], "need --tokenizer gpt2-bpe"),
        (["--tokenizer-from", "x", "--tokenizer", "sentencepiece"], "leave out --tokenizer"),
        (["--tokenizer-from", "x", "--vocab-size", "9"], "leave out --vocab-size"),
        (["--tokenizer-from", "x"], "not a data-bin"),
        ([*GPT2_OPTIONS, "--vocab-size", "9"], "leave it out"),
        (["--vocab-size", "5"], "try another --vocab-size"),
    ],
)
def test_wrong_tokenizer_options_name_the_fix(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert not prepare([*without_vocab_size(source.write()), *options], status=2).exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mvlm-prep: error: ")
    assert message in error


@pytest.mark.parametrize("captions", [["a"], ["\u732b"], ["hello"] * 3, ["x" * 5000, "dog"]])
def test_tiny_corpora_can_be_trained_on(tmp_path: Path, captions: list[str]) -> None:
    (tmp_path / "captions.txt").write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
    train_tokenizer(tmp_path, TrainCaptions([tmp_path / "captions.txt"], len(captions)), 8000)
    tokenizer = installed_tokenizer("sentencepiece", tmp_path)
    assert tokenizer.decode(tokenizer.encode(captions[-1])) == captions[-1]
