"""Captions and label fields on their way from the source to training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from databin_helpers import Picture, encoded, scenery, write_bin
from prep_helpers import Source, counts_of, manifest_of, rejections, write_image

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_tokenizer

RunPrepare = Callable[..., Path]


@pytest.fixture
def captions_of(prepare: RunPrepare, tmp_path: Path) -> Callable[..., list[str]]:
    """Prepares images with one caption each as JSON lines and gives back the captions that are stored.

    Each byte is a token, so that the tokenizer changes nothing.
    """
    by_bytes = write_bin(tmp_path / "bytes", {"train": [Picture("a", encoded(scenery(0)))]})

    def run(captions: list[str], *more: str) -> list[str]:
        rows = []
        for number, caption in enumerate(captions):
            write_image(tmp_path / "images" / f"{number}.png", number)
            rows.append(json.dumps({"image": f"{number}.png", "caption": caption}) + "\n")
        (tmp_path / "rows.jsonl").write_text("".join(rows))
        source = ["jsonl", "--data", str(tmp_path / "rows.jsonl"), "--images", str(tmp_path / "images")]
        databin = prepare([*source, "--tokenizer-from", str(by_bytes), "--workers", "1"], *more)
        store = PairStore(databin, "train")
        tokenizer = load_tokenizer(databin)
        return [tokenizer.decode(store.captions.tokens(number)) for number in range(len(store))]

    return run


def test_text_is_composed_and_freed_of_control_characters(captions_of: Callable[..., list[str]]) -> None:
    raw = ["Cafe\u0301 on a\ttable", "a\x00 dog\x1b \x85 runs", "  two \n lines\r\n", "\u4e2d\u6587 text", "a\u2028b"]
    assert captions_of(raw) == ["Caf\u00e9 on a table", "a dog runs", "two lines", "\u4e2d\u6587 text", "a b"]


def test_too_long_is_told_with_the_limit(
    captions_of: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = ["a dog runs", "x" * 11, "  " + "y" * 10 + "  ", "a " * 400]
    assert captions_of(raw, "--max-chars", "10") == ["a dog runs", "y" * 10]
    first, second = rejections(tmp_path / "bin")
    assert (first["line"], second["line"]) == (2, 4)
    assert first["reason"] == "11 characters are more than the limit of 10"
    assert first["source"] == str(tmp_path / "rows.jsonl")
    assert len(second["caption"]) == 200
    assert manifest_of(tmp_path / "bin")["rejected"]["by_reason"] == {"long caption": 2}
    assert "long caption 2" in capsys.readouterr().out


def test_too_few_words_are_told_with_the_limit(captions_of: Callable[..., list[str]], tmp_path: Path) -> None:
    raw = ["a dog", "a dog \u00a0 runs", "dog", "dog runs away"]
    assert captions_of(raw, "--min-words", "3") == ["a dog runs", "dog runs away"]
    assert [(entry["line"], entry["reason"]) for entry in rejections(tmp_path / "bin")] == [
        (1, "2 words are fewer than the limit of 3"), (3, "1 words are fewer than the limit of 3"),
    ]  # fmt: skip


def test_an_image_whose_captions_are_all_dropped_is_not_stored(
    captions_of: Callable[..., list[str]], tmp_path: Path
) -> None:
    captions_of(["a dog runs", "dog"], "--min-words", "2")
    assert counts_of(tmp_path / "bin") == {"train": 1}


def fields_source(folder: Path, lines: list[str]) -> list[str]:
    for number in range(6):
        write_image(folder / "images" / f"{number}.png", number)
    (folder / "questions.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [
        "tsv", "--captions", str(folder / "questions.tsv"), "--images", str(folder / "images"), "--fields",
        "answer,id", "--vocab-size", "60", "--workers", "1", "--part-images", "2",
    ]  # fmt: skip


def test_label_fields_stay_with_their_captions(tmp_path: Path, prepare: RunPrepare) -> None:
    lines = [f"{number % 6}.png\twhat is number {number}\tanswer {number}\t{100 + number}" for number in range(15)]
    lines[4] = '4.png\twhat is number 4\tj\u00e4, "so"\t\u732b'
    lines[7] = "1.png\t \x07 \tanswer 7\t107"
    lines[9] = "3.png\twhat is number 9\tanswer 9"
    databin = prepare(fields_source(tmp_path / "raw", lines))
    assert [entry["line"] for entry in rejections(databin)] == [8, 10] or [
        entry["line"] for entry in rejections(databin)
    ] == [10, 8]
    store = PairStore(databin, "train")
    tokenizer = load_tokenizer(databin)
    found = {}
    for caption in range(len(store)):
        (image,) = store.images_of(caption)
        text = tokenizer.decode(store.captions.tokens(caption))
        found[text] = (store.names[image], store.fields(caption))
    expected = {}
    for number, line in enumerate(lines):
        if number not in (7, 9):
            image, text, answer, identifier = line.split("\t")
            expected[text] = (image, {"answer": answer, "id": identifier})
    assert found == expected
    assert manifest_of(databin)["splits"]["train"]["fields"] == {
        "answer": {"type": "string", "missing": 0}, "id": {"type": "string", "missing": 0},
    }  # fmt: skip


def test_fields_follow_captions_whose_image_is_dropped(tmp_path: Path, prepare: RunPrepare) -> None:
    lines = [f"{number}.png\twhat is number {number}\tanswer {number}\t{number}" for number in range(6)]
    arguments = fields_source(tmp_path / "raw", lines)
    images = tmp_path / "raw" / "images"
    (images / "3.png").write_bytes((images / "1.png").read_bytes())
    (images / "2.png").write_bytes(b"broken")
    store = PairStore(prepare(arguments, "--duplicates", "drop"), "train")
    assert [store.fields(caption)["id"] for caption in range(len(store))] == ["0", "1", "4", "5"]


def test_without_fields_there_are_none(source: Source, prepare: RunPrepare) -> None:
    databin = prepare(source.write())
    assert list(databin.glob("*.fields.*")) == []
    assert PairStore(databin, "train").fields(0) is None
    assert manifest_of(databin)["splits"]["train"]["fields"] == {}


def test_damaged_fields_are_told(tmp_path: Path, prepare: RunPrepare) -> None:
    lines = [f"{number}.png\twhat is number {number}\tanswer {number}\t{number}" for number in range(6)]
    databin = prepare(fields_source(tmp_path / "raw", lines))
    path = databin / "train.fields.bin"
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    with pytest.raises(DataBinError, match="label fields of caption 0"):
        PairStore(databin, "train").fields(0)
