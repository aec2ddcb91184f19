"""Writes the files of one split: images packed into containers, their index, the pairs table, the token file."""

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder, best_fitting_int_dtype

from mvlm_plugin.data.databin import images_path, pairs_path, text_prefix
from mvlm_plugin.data.image_index import ImageIndexWriter, ImageRecord
from mvlm_plugin.data.tokenizers import CaptionTokenizer

from .records import Caption, LoadedImage


class ContainerWriter:
    """Packs encoded images into ``SPLIT.images.bin``, ``SPLIT.images.001.bin``, ...

    Args:
        folder: where the containers go.
        split: name of the split.
        limit: bytes; a container that would grow beyond is followed by a new one. An image is never divided.
    """

    def __init__(self, folder: Path, split: str, limit: int) -> None:
        self.names: list[str] = []
        self._folder = folder
        self._split = split
        self._limit = limit
        self._file: BinaryIO | None = None
        self._offset = 0

    def add(self, image: LoadedImage) -> ImageRecord:
        """Append the bytes of an image."""
        if self._file is None or (self._offset and self._offset + len(image.data) > self._limit):
            self._file = self._next_container()
        offset = self._offset
        self._file.write(image.data)
        self._offset += len(image.data)
        return ImageRecord(len(self.names) - 1, offset, len(image.data), image.width, image.height, image.crc32)

    def close(self) -> None:
        """Close the last container."""
        if self._file is not None:
            self._file.close()

    def _next_container(self) -> BinaryIO:
        self.close()
        number = f".{len(self.names):03d}" if self.names else ""
        self.names.append(f"{self._split}.images{number}.bin")
        self._offset = 0
        return open(self._folder / self.names[-1], "wb")


class SplitWriter:
    """Writes a split in two passes: first the images, later, once the tokenizer is there, the captions.

    Args:
        folder: the data-bin in the making.
        scratch: folder for the captions in between.
        split: name of the split.
        container_bytes: see ContainerWriter.
    """

    def __init__(self, folder: Path, scratch: Path, split: str, container_bytes: int) -> None:
        self.captions = 0
        self.captions_path = scratch / f"{split}.captions.txt"
        self._folder = folder
        self._split = split
        self._images = 0
        self._image_bytes = 0
        self._modes: Counter[str] = Counter()
        self._pairs = array("q")
        self._containers = ContainerWriter(folder, split, container_bytes)
        self._index = ImageIndexWriter(images_path(folder, split))
        self._captions_file: TextIO = open(self.captions_path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115

    def add(self, image: LoadedImage, captions: list[Caption]) -> None:
        """Store an image once, and its captions, which hold no line breaks."""
        self._index.add(self._containers.add(image))
        for caption in captions:
            self._captions_file.write(caption.text + "\n")
            self._pairs.append(self._images)
        self.captions += len(captions)
        self._images += 1
        self._image_bytes += len(image.data)
        self._modes[image.mode] += 1

    def finish_images(self) -> None:
        """Complete containers, index and pairs table."""
        self._containers.close()
        self._index.close(self._containers.names)
        self._captions_file.close()
        np.save(pairs_path(self._folder, self._split), np.array(self._pairs, dtype=np.int64))

    def finish_text(self, tokenizer: CaptionTokenizer) -> dict[str, Any]:
        """Encode the captions and write the token file.

        Returns:
            The split's entry of the manifest.
        """
        prefix = str(text_prefix(self._folder, self._split))
        builder = MMapIndexedDatasetBuilder(f"{prefix}.bin", best_fitting_int_dtype(len(tokenizer.dictionary)))
        unknown_id = tokenizer.dictionary.unk()
        tokens = unknown = 0
        for text in read_lines(self.captions_path):
            ids = tokenizer.encode(text)
            builder.add_item(torch.tensor(ids))
            tokens += len(ids)
            unknown += ids.count(unknown_id)
        builder.finalize(f"{prefix}.idx")
        return {
            "images": self._images,
            "captions": self.captions,
            "tokens": tokens,
            "unknown_tokens": unknown,
            "image_modes": dict(sorted(self._modes.items())),
            "image_bytes": self._image_bytes,
        }


def read_lines(path: Path) -> Iterator[str]:
    """Lines of a captions file without their line breaks."""
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")
