"""mvlm-prep show."""

import argparse
import hashlib
from pathlib import Path

import pytest
from databin_helpers import Picture, encoded, scenery, write_bin
from PIL import Image, ImageChops

from data_prep.inspection import show
from data_prep.inspection.show import TOOL, captions_of_image
from data_prep.records import PrepError
from data_prep.similarity import perceptual_hash
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.pair_list import PairList, append_pairs
from mvlm_plugin.data.store import PairStore

HOSTILE = "a\x1b[2J b\u202eevil"


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    TOOL.add_options(parser)
    return TOOL.run(parser.parse_args([str(argument) for argument in arguments]))


def pictures() -> list[Picture]:
    return [
        Picture("one.png", encoded(scenery(1)), ("first", "second"), ({"answer": "yes"}, {"answer": "no\x1b"})),
        Picture("two/zwei.png", encoded(scenery(2)), (HOSTILE,), ({"answer": None},)),
        Picture("flat.png", encoded(Image.new("RGB", (30, 20), "red")), ("red",), ({"answer": "red"},)),
    ]


@pytest.fixture
def databin(tmp_path: Path) -> Path:
    return write_bin(tmp_path / "bin", {"train": pictures(), "valid": pictures()[1:]})


def test_caption(databin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(databin, "--index", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    # A byte b is entry b + 4 of the dictionary, after the specials, for bytes below z; 2 is </s>.
    assert lines[:3] == [
        f"{databin}, split train",
        "caption 1: second",
        f"  tokens: {' '.join(str(ord(letter) + 4) for letter in 'second')} 2",
    ]
    assert lines[3] == '  label fields: {"answer": "no\\u001b"}'
    assert lines[4] == "image 0: one.png"
    assert lines[5] == f"  size: 96 x 80 pixels, {len(encoded(scenery(1))):,} bytes"
    assert lines[6] == f"  lies in: {databin / 'train.images.bin'} from byte 0"
    assert f"perceptual hash: {perceptual_hash(scenery(1)):016x}" in lines[9]
    assert lines[10:12] == ["other captions of the image:", "caption 0: first"]


def test_content_hash_is_printed_as_sha256_is(databin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(databin, "--index", 0, "--image")
    assert hashlib.sha256(encoded(scenery(1))).hexdigest()[:32] in capsys.readouterr().out


def test_image(databin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(databin, "--index", 1, "--image", "--split", "val")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{databin}, split valid", "image 1: flat.png"]
    assert "  perceptual hash: none, the picture is flat" in lines
    assert [line for line in lines if line.startswith("caption")] == ["caption 1: red"]


def test_nothing_commands_the_terminal(databin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(databin, "--index", 2)
    out = capsys.readouterr().out
    assert all(char.isprintable() for line in out.splitlines() for char in line)
    assert "a\\x1b[2J b\\u202eevil" in out


def test_picture_is_written(databin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.png"
    run(databin, "--index", 2, "--out", out)
    assert ImageChops.difference(Image.open(out), scenery(2)).getbbox() is None
    assert f"wrote {out}" in capsys.readouterr().out


def test_texts_of_two_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bin(tmp_path / "pairs", {"train": pictures()}, images_per_text=2)
    run(folder, "--index", 2, "--out", tmp_path / "out.png")
    out = capsys.readouterr().out
    assert "image 1: two/zwei.png" in out
    assert "image 2: flat.png" in out
    assert ImageChops.difference(Image.open(tmp_path / "out.png"), scenery(2)).getbbox() is None
    assert Image.open(tmp_path / "out.2.png").getpixel((0, 0)) == (255, 0, 0)
    # Image 2 is the second of text 2 and the first of text 3.
    assert captions_of_image(PairStore(folder, "train"), 2) == [2, 3]


def test_captions_are_found_in_every_piece(databin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_PAIRS_AT_ONCE", 1)
    store = PairStore(databin, "train")
    assert [captions_of_image(store, image) for image in range(3)] == [[0, 1], [2], [3]]


def test_out_of_range_says_the_range(databin: Path) -> None:
    with pytest.raises(PrepError, match="--index 4: split train has the 4 captions 0 to 3"):
        run(databin, "--index", 4)
    with pytest.raises(PrepError, match="--image --index -1: split train has the 3 images 0 to 2"):
        run(databin, "--index", -1, "--image")
    with pytest.raises(DataBinError, match="no split 'nosuch'; it has: train, valid"):
        run(databin, "--index", 0, "--split", "nosuch")


def test_damaged_picture_is_an_error(databin: Path, tmp_path: Path) -> None:
    content = bytearray((databin / "train.images.bin").read_bytes())
    content[100] ^= 1
    (databin / "train.images.bin").write_bytes(content)
    with pytest.raises(PrepError, match=r"checksum differs.*mvlm-prep verify"):
        run(databin, "--index", 0, "--out", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_pairs_that_a_run_wrote_down_are_shown_once_each(databin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = databin.parent / "run" / "skipped_updates.rank0.jsonl"
    append_pairs(listed, [PairList("elsewhere/other", "train", [0])], update=3)
    append_pairs(listed, [PairList(str(databin), "valid", [0]), PairList(str(databin), "train", [3, 1])], update=4)
    append_pairs(listed, [PairList(f"elsewhere/{databin.name}", "train", [1])], reason="checksum differs")
    assert run(databin, "--ids", listed) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("caption", "image"))]
    # Other captions of caption 1's image follow it.
    assert shown == ["caption 3: red", "image 2: flat.png", "caption 1: second", "image 0: one.png", "caption 0: first"]


def test_a_file_without_pairs_of_the_data_bin_is_refused(databin: Path) -> None:
    listed = databin.parent / "list.jsonl"
    append_pairs(listed, [PairList("a/\x1bb", "valid", [0])])
    with pytest.raises(
        PrepError, match=r"names no caption of .*, split train; it names those of: a/\\x1bb, split valid"
    ):
        run(databin, "--ids", listed)
    with pytest.raises(PrepError, match="neither --image nor --out"):
        run(databin, "--ids", listed, "--image")


@pytest.mark.parametrize(
    "line",
    ["spam", "[1]", '{"databin": "a"}', '{"databin": "a", "split": "train", "pairs": [true]}',
     '{"databin": 1, "split": "train", "pairs": []}', '{"databin": "a", "split": "train", "pairs": "1"}',
     "[" * 100_000],
)  # fmt: skip
def test_a_damaged_file_of_pairs_is_refused(databin: Path, line: str) -> None:
    listed = databin.parent / "list.jsonl"
    listed.write_text(line + "\n")
    with pytest.raises(DataBinError, match=r"line 1 of .*list\.jsonl names no pairs"):
        run(databin, "--ids", listed)


def test_a_number_that_the_split_lacks_is_refused(databin: Path) -> None:
    listed = databin.parent / "list.jsonl"
    append_pairs(listed, [PairList(str(databin), "train", [4])])
    with pytest.raises(PrepError, match="has the 4 captions 0 to 3"):
        run(databin, "--ids", listed)
