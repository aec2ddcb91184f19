"""Data-bins of given pictures and captions, for the tools that look at them; each byte of a caption is a token."""

import hashlib
import io
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from PIL import Image, ImageDraw

from data_prep.similarity import perceptual_hash
from mvlm_plugin.data.databin import (
    FORMAT_VERSION,
    HASH,
    fields_prefix,
    hashes_path,
    images_path,
    names_prefix,
    pairs_path,
    text_prefix,
)
from mvlm_plugin.data.image_index import RECORD, ImageIndexWriter
from mvlm_plugin.data.line_file import LineFileWriter
from mvlm_plugin.data.token_file import TokenFileWriter
from mvlm_plugin.data.tokenizers import load_tokenizer


class Picture(NamedTuple):
    """An encoded image, its name, its captions, and a dictionary of label fields for each caption, or none."""

    name: str
    data: bytes
    captions: tuple[str, ...] = ("a",)
    fields: tuple[dict[str, Any], ...] | None = None


def scenery(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A smooth random picture; other seeds look different."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def marked(image: Image.Image) -> Image.Image:
    """The image with one small grey corner: other bytes, the same looks."""
    copy = image.copy()
    ImageDraw.Draw(copy).rectangle((0, 0, 1, 1), "grey")
    return copy


def _write_images(folder: Path, split: str, pictures: list[Picture]) -> None:
    data = [picture.data for picture in pictures]
    index = ImageIndexWriter(images_path(folder, split))
    (folder / f"{split}.images.bin").write_bytes(b"".join(data))
    index.add_container(f"{split}.images.bin", sum(map(len, data)), 0)
    records = np.zeros(len(data), dtype=RECORD)
    hashes = np.zeros(len(data), dtype=HASH)
    offset = 0
    for number, content in enumerate(data):
        image = Image.open(io.BytesIO(content)).convert("RGB")
        records[number] = (0, len(content), offset, *image.size, zlib.crc32(content), 0)
        offset += len(content)
        digest = np.frombuffer(hashlib.sha256(content).digest()[:16], "<u8")
        hashes[number] = (digest, perceptual_hash(image))
    index.extend(records)
    index.close()
    np.save(hashes_path(folder, split), hashes)
    names = LineFileWriter(names_prefix(folder, split))
    names.extend(picture.name for picture in pictures)
    names.close()


def _write_captions(folder: Path, split: str, pictures: list[Picture], images_per_text: int) -> int:
    tokenizer = load_tokenizer(folder)
    tokens = TokenFileWriter(text_prefix(folder, split), np.uint16)
    texts = [(number, text) for number, picture in enumerate(pictures) for text in picture.captions]
    for _, text in texts:
        ids = np.array(tokenizer.encode(text))
        tokens.extend(ids, np.array([len(ids)]))
    tokens.close()
    owners = np.array([number for number, _ in texts], dtype=np.int64)
    if images_per_text == 2:
        owners = np.stack([owners, (owners + 1) % len(pictures)], axis=1)
    np.save(pairs_path(folder, split), owners)
    if pictures[0].fields is not None:
        fields = LineFileWriter(fields_prefix(folder, split))
        fields.extend(json.dumps(entry) for picture in pictures for entry in picture.fields or ())
        fields.close()
    return len(texts)


def write_bin(folder: Path, splits: dict[str, list[Picture]], images_per_text: int = 1, **manifest: Any) -> Path:
    """A data-bin; with two images a text, the second is the next one. The letters z and ~ are not in its dictionary."""
    folder.mkdir(parents=True)
    symbols = {symbol: byte for byte, symbol in bytes_to_unicode().items()}
    (folder / "encoder.json").write_text(json.dumps(symbols), encoding="utf-8")
    (folder / "vocab.bpe").write_text("#version: 0.2\n", encoding="utf-8")
    dictionary = Dictionary()
    for byte in range(256):
        if chr(byte) not in "z~":
            dictionary.add_symbol(str(byte))
    dictionary.save(str(folder / "dict.txt"))
    entries: dict[str, Any] = {split: {} for split in splits}
    content = {
        "format_version": FORMAT_VERSION,
        "image_store": "packed",
        "tokenizer": {"kind": "gpt2_bpe", "vocab_size": len(dictionary)},
        "splits": entries,
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    for split, pictures in splits.items():
        _write_images(folder, split, pictures)
        captions = _write_captions(folder, split, pictures, images_per_text)
        entries[split].update(images=len(pictures), captions=captions, image_modes={"RGB": len(pictures)})
        if pictures[0].fields is not None:
            entries[split]["fields"] = {name: {"type": "?", "missing": 0} for name in pictures[0].fields[0]}
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_sharded(folder: Path, shards: list[dict[str, list[Picture]]]) -> Path:
    """A sharded data-bin."""
    names = [f"shard{number}" for number in range(len(shards))]
    for name, splits in zip(names, shards, strict=True):
        write_bin(folder / name, splits)
    splits = {split: {} for shard in shards for split in shard}
    manifest = {"format_version": FORMAT_VERSION, "shards": names, "splits": splits, "image_store": "packed"}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder
