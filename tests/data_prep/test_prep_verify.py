"""verify finds what is wrong, and says where."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prep_helpers import Source

from data_prep.cli import main
from data_prep.files import sha256_of
from mvlm_plugin.data.fingerprint import fingerprint_of


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def change_pairs(path: Path, caption: int, image: int) -> None:
    pairs = np.load(path)
    pairs[caption] = image
    np.save(path, pairs)


def forge_hashes(databin: Path) -> None:
    """Make the manifest agree with the files, so that only their meaning can betray them."""
    manifest = json.loads((databin / "manifest.json").read_text())
    for name, entry in manifest["files"].items():
        entry.update(bytes=(databin / name).stat().st_size, sha256=sha256_of(str(databin / name)))
    manifest["fingerprint"] = fingerprint_of(manifest)
    (databin / "manifest.json").write_text(json.dumps(manifest))


DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "flipped image byte": (
        lambda d: flip_byte(d / "train.images.bin", 50),
        ["train.images.bin: its SHA-256", "image 0 of train.images.idx: checksum"],
    ),
    "truncated container": (
        lambda d: truncate(d / "train.images.bin"),
        ["train.images.bin: ", "image 7 of train.images.idx: train.images.bin is truncated"],
    ),
    "missing container": (
        lambda d: (d / "valid.images.bin").unlink(),
        ["valid.images.bin: the file is missing", "valid.images.bin cannot be read"],
    ),
    "damaged index": (lambda d: flip_byte(d / "train.images.idx", 3), ["train.images.idx is not an image index"]),
    "pair out of bounds": (
        lambda d: change_pairs(d / "train.pairs.npy", 3, 99),
        ["train.pairs.npy: its SHA-256", "train.pairs.npy: caption 3 points at image 99 of 8"],
    ),
    "missing text": (lambda d: (d / "train.text.idx").unlink(), ["train.text.idx: the file is missing"]),
    "changed dictionary": (
        lambda d: (d / "dict.txt").write_text((d / "dict.txt").read_text() + "new 1\n"),
        ["dict.txt: ", "the manifest says"],
    ),
    "broken tokenizer": (lambda d: (d / "tokenizer.spm").write_bytes(b"x"), ["tokenizer: "]),
    "damaged manifest": (lambda d: (d / "manifest.json").write_text("{"), ["manifest.json is damaged"]),
    "missing manifest": (lambda d: (d / "manifest.json").unlink(), ["has no manifest.json"]),
}


def test_a_sound_data_bin_passes(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write())
    assert main(["verify", str(databin), "--workers", "2"]) == 0
    assert "is sound" in capsys.readouterr().out


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    databin = prepare(source.write())
    inflict, messages = DAMAGES[damage]
    inflict(databin)
    capsys.readouterr()
    assert main(["verify", str(databin), "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    for message in messages:
        assert message in printed


def test_an_image_without_caption_is_found_even_where_hashes_agree(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write())
    change_pairs(databin / "train.pairs.npy", 0, 1)
    change_pairs(databin / "train.pairs.npy", 1, 1)
    forge_hashes(databin)
    assert main(["verify", str(databin), "--workers", "1"]) == 1
    assert "train.pairs.npy: image 0 has no caption" in capsys.readouterr().out


def test_wrong_tokens_and_sizes_are_found_even_where_hashes_agree(
    source: Source, prepare: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write())
    tokens = np.fromfile(databin / "train.text.bin", dtype=np.uint16)
    ends = np.flatnonzero(tokens == 2)
    tokens[ends[4]] = 5
    tokens[0] = 60_000
    tokens.tofile(databin / "train.text.bin")
    index = bytearray((databin / "train.images.idx").read_bytes())
    width_of_image_2 = 64 + 2 * 32 + 16
    index[width_of_image_2] += 1
    (databin / "train.images.idx").write_bytes(index)
    forge_hashes(databin)
    assert main(["verify", str(databin), "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert "train.text: caption 4 does not end with </s>" in printed
    assert "train.text: caption 0 has a token beyond" in printed
    assert "image 2 of train.images.idx: (22, 18) pixels, the index says (23, 18)" in printed
    assert "3 problems" in printed
