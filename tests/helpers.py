"""What tests build again and again: dictionaries, tiny models, batches, data-bins."""

import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from PIL import Image
from torch import Tensor, nn

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig
from mvlm_plugin.data.collate import Sample, collate
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
from mvlm_plugin.masking.image import mask_blocks
from mvlm_plugin.masking.text import mask_text
from mvlm_plugin.models.architectures import MvlmTinyConfig
from mvlm_plugin.models.config import MvlmConfig
from mvlm_plugin.models.mvlm import MvlmModel

WORDS = 40


def make_dictionary(mask: bool = True) -> Dictionary:
    """``WORDS`` words named w0, w1, ... after the four specials; <mask> last."""
    dictionary = Dictionary()
    for i in range(WORDS):
        dictionary.add_symbol(f"w{i}")
    if mask:
        dictionary.add_symbol("<mask>")
    return dictionary


def tiny_config(**overrides: Any) -> MvlmTinyConfig:
    """mvlm_tiny on images of 32 pixels: 16 patches of 8 pixels, 4 blocks of 16."""
    small = {"image_encoder": "vit_tiny_patch8", "image_size": 32, "image_mask_block": 16}
    return MvlmTinyConfig(**{**small, **overrides})


def make_model(cfg: MvlmConfig, seed: int = 0) -> MvlmModel:
    """The model of a config, with the initial weights of a seed."""
    torch.manual_seed(seed)
    return MvlmModel(cfg, make_dictionary())


def roughen(module: nn.Module, scale: float = 0.2, seed: int = 0) -> nn.Module:
    """Add noise to every parameter, so that biases and norms are not at their neutral values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


def make_criterion(**weights: float) -> JointMaskedVLCriterion:
    """The criterion with weights by objective, e.g. ``itm=0``; the others are 1."""
    cfg = JointMaskedVLCriterionConfig(**{f"{name}_weight": weight for name, weight in weights.items()})
    return JointMaskedVLCriterion(cfg, SimpleNamespace(target_dictionary=make_dictionary()))


def make_samples(
    cfg: MvlmConfig, words: Sequence[int], image_ids: Sequence[int] | None = None, seed: int = 0
) -> list[Sample]:
    """Random pairs, masked as the data set masks them; words[i] = words of caption i without <s> and </s>."""
    dictionary = make_dictionary()
    rng = np.random.default_rng(seed)
    mask_id = len(dictionary) - 1
    samples = []
    for index, count in enumerate(words):
        inner = rng.integers(dictionary.nspecial, mask_id, size=count)
        tokens = np.concatenate([[dictionary.bos()], inner, [dictionary.eos()]]).astype(np.int64)
        masked, chosen = mask_text(tokens, cfg.text_mask_ratio, mask_id, (dictionary.nspecial, mask_id), rng)
        blocks = mask_blocks(cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, rng)
        image = torch.from_numpy(rng.integers(0, 256, size=(3, cfg.image_size, cfg.image_size), dtype=np.uint8))
        image_id = index if image_ids is None else image_ids[index]
        samples.append(Sample(index, image_id, image, tokens, masked, chosen, blocks))
    return samples


def make_batch(
    cfg: MvlmConfig, words: Sequence[int] = (5, 3, 8, 1), image_ids: Sequence[int] | None = None, seed: int = 0
) -> dict[str, Any]:
    """A batch of random pairs; see make_samples."""
    return collate(make_samples(cfg, words, image_ids, seed), make_dictionary().pad())


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every gradient there is, by parameter name."""
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def assert_same_tensors(
    actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5, scale: float = 1.0
) -> None:
    """Equal keys, and equal values within the tolerance; values of ``actual`` are divided by ``scale`` first."""
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        scaled = value if scale == 1.0 else value / scale
        torch.testing.assert_close(
            scaled, expected[name], atol=tolerance, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def colour(image: int) -> tuple[int, int, int]:
    """The colour that image number ``image`` of a test's data-bin is filled with; all differ."""
    return (10 * image % 256, 255 - 7 * image, 40 + 5 * image)


def png(rgb: tuple[int, int, int], size: tuple[int, int] = (24, 20)) -> bytes:
    """An encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, rgb).save(buffer, "PNG")
    return buffer.getvalue()


def caption_words(caption: int) -> list[int]:
    """Words (their numbers) of caption ``caption`` of a test's data-bin: the pair's number, then 1 to 4 others."""
    return [caption % WORDS] + [(caption * 7 + i) % WORDS for i in range(1 + caption % 4)]


def png_hash(data: bytes, perceptual: int) -> tuple[np.ndarray, int]:
    """A row of a data-bin's hashes."""
    return np.frombuffer(hashlib.sha256(data).digest()[:16], "<u8"), perceptual


def write_images(folder: Path, split: str, images: int, image_root: Path | None = None) -> None:
    """Index, names and hashes of one-colour pictures: in two containers, or in files of their own under a root."""
    encoded = [png(colour(image)) for image in range(images)]
    index = ImageIndexWriter(images_path(folder, split))
    records = np.zeros(images, dtype=RECORD)
    if image_root is None:
        names = [f"{split}.images.bin", f"{split}.images.001.bin"]
        for part, name in enumerate(names):
            data = b"".join(encoded[part::2])
            (folder / name).write_bytes(data)
            index.add_container(name, len(data), 0)
            lengths = [len(image) for image in encoded[part::2]]
            records["offset"][part::2] = np.cumsum([0, *lengths[:-1]])
            records["container"][part::2] = part
    else:
        image_root.mkdir(parents=True, exist_ok=True)
        for image, data in enumerate(encoded):
            path = image_root / f"{split}{image}.png"
            path.write_bytes(data)
            records["container"][image] = index.add_container(path.name, len(data), path.stat().st_mtime_ns)
    records["length"] = [len(data) for data in encoded]
    records["width"], records["height"] = 24, 20
    records["crc32"] = [zlib.crc32(data) for data in encoded]
    index.extend(records)
    index.close()
    hashes = np.array([png_hash(data, image) for image, data in enumerate(encoded)], dtype=HASH)
    np.save(hashes_path(folder, split), hashes)
    names_file = LineFileWriter(names_prefix(folder, split))
    names_file.extend(f"{split}{image}.png" for image in range(images))
    names_file.close()


def write_captions(folder: Path, split: str, dictionary: Dictionary, captions: int) -> None:
    """Tokens and label fields (the caption's number) of a split."""
    tokens = TokenFileWriter(text_prefix(folder, split), np.uint16)
    fields = LineFileWriter(fields_prefix(folder, split))
    for caption in range(captions):
        ids = [*(dictionary.index(f"w{word}") for word in caption_words(caption)), dictionary.eos()]
        tokens.extend(np.array(ids), np.array([len(ids)]))
        fields.add(json.dumps({"number": caption}))
    tokens.close()
    fields.close()


def write_databin(
    folder: Path, images: int = 24, splits: Sequence[str] = ("train", "valid"), image_root: Path | None = None
) -> Path:
    """A data-bin of one-colour pictures; image i has 1 + i % 3 captions.

    Captions are numbered image by image, and see caption_words() and colour() for what they say and show. The
    pictures lie in two container files, or one by one under image_root.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dictionary = make_dictionary(mask=False)
    dictionary.save(str(folder / "dict.txt"))
    entries: dict[str, Any] = {}
    for split in splits:
        write_images(folder, split, images, image_root)
        pairs = [image for image in range(images) for _ in range(1 + image % 3)]
        np.save(pairs_path(folder, split), np.array(pairs, dtype=np.int64))
        write_captions(folder, split, dictionary, len(pairs))
        fields = {"number": {"type": "integer", "missing": 0}}
        entries[split] = {"images": images, "captions": len(pairs), "images_per_text": 1, "fields": fields}
    manifest = {"format_version": FORMAT_VERSION, "splits": entries, "tokenizer": {"kind": "sentencepiece"}}
    manifest["image_store"] = "reference" if image_root else "packed"
    if image_root:
        manifest["image_root"] = str(image_root)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def write_shards(folder: Path, images: Sequence[int]) -> Path:
    """A sharded data-bin of images[i] pictures in shard i; only the first has a valid split."""
    names = [f"shard{number}" for number in range(len(images))]
    for number, (name, count) in enumerate(zip(names, images, strict=True)):
        write_databin(folder / name, count, ["train"] if number else ["train", "valid"])
    (folder / "manifest.json").write_text(json.dumps({"format_version": FORMAT_VERSION, "shards": names}))
    return folder
