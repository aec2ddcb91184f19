"""Data-bins of one-colour pictures whose texts have labels, one or several images each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mvlm_plugin.data.answers import Labels
from mvlm_plugin.data.databin import FORMAT_VERSION, fields_prefix, pairs_path, text_prefix
from mvlm_plugin.data.dataset import PairOptions
from mvlm_plugin.data.labelled import LabelledDataset, LabelledOptions
from mvlm_plugin.data.line_file import LineFileWriter
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.token_file import TokenFileWriter
from tests.helpers import make_dictionary, write_images

CLASSES = ["False", "True"]


class Text(NamedTuple):
    """images: numbers of its pictures; words: numbers of its words; fields: label fields."""

    images: tuple[int, ...]
    words: tuple[int, ...]
    fields: dict[str, Any]


def texts(count: int, per_image: int = 3, images: int = 1) -> list[Text]:
    """Texts of 1 to 4 words, ``per_image`` of them about the same picture (or pictures); labels true, false, ..."""
    return [
        Text(
            tuple(images * (number // per_image) + i for i in range(images)),
            tuple((number + i) % 40 for i in range(1 + number % 4)),
            {"label": ["true", "false"][number % 2]},
        )
        for number in range(count)
    ]


def write_labelled(folder: Path, splits: dict[str, Sequence[Text]]) -> Path:
    """Write a data-bin; text t of a split is entry t, and picture i has colour(i)."""
    folder.mkdir(parents=True, exist_ok=True)
    dictionary = make_dictionary(mask=False)
    dictionary.save(str(folder / "dict.txt"))
    entries = {}
    for split, rows in splits.items():
        images = 1 + max(max(text.images) for text in rows)
        write_images(folder, split, images)
        table = np.array([text.images for text in rows], dtype=np.int64)
        np.save(pairs_path(folder, split), table[:, 0] if table.shape[1] == 1 else table)
        tokens = TokenFileWriter(text_prefix(folder, split), np.uint16)
        fields = LineFileWriter(fields_prefix(folder, split))
        for text in rows:
            ids = [*(dictionary.index(f"w{word}") for word in text.words), dictionary.eos()]
            tokens.extend(np.array(ids), np.array([len(ids)]))
            fields.add(json.dumps(text.fields))
        tokens.close()
        fields.close()
        names = {name: {"type": "string", "missing": 0} for text in rows for name in text.fields}
        entries[split] = {
            "images": images, "captions": len(rows), "images_per_text": table.shape[1], "fields": names,
        }  # fmt: skip
    manifest = {
        "format_version": FORMAT_VERSION, "splits": entries, "tokenizer": {"kind": "sentencepiece"},
        "image_store": "packed",
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def labelled_dataset(
    folder: Path,
    split: str = "train",
    labels: Labels | None = None,
    transforms: dict[str, str] | None = None,
    seed: int = 1,
    **options: Any,
) -> LabelledDataset:
    """The data set of a split with images of 16 pixels; ``label`` is true or false unless labels are given."""
    labels = Labels(CLASSES, "label", is_open=False) if labels is None else labels
    pair_options = PairOptions(16, 8, 0.5, 8, 0.3, **(transforms or {}))
    return LabelledDataset(
        PairStore(folder, split), make_dictionary(), pair_options, LabelledOptions(**options), labels, seed,
        train=split == "train",
    )  # fmt: skip


def colours(images: torch.Tensor) -> list[tuple[int, ...]]:
    """The colour in the middle of each image of (N, 3, S, S)."""
    return [tuple(image[:, 8, 8].tolist()) for image in images]


def damage_image(folder: Path, split: str, image: int) -> None:
    """Overwrite one picture of a data-bin that write_labelled() made."""
    record = PairStore(folder, split).images.record(image)
    container = folder / (f"{split}.images.001.bin" if record.container else f"{split}.images.bin")
    data = bytearray(container.read_bytes())
    data[record.offset : record.offset + record.length] = bytes(record.length)
    container.write_bytes(data)
