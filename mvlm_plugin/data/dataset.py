"""Image and caption pairs of a data-bin, masked: what fairseq's loaders read."""

import logging
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fairseq.data import Dictionary, FairseqDataset, data_utils
from fairseq.data.indexed_dataset import MMapIndexedDataset

from ..masking.image import mask_blocks
from ..masking.text import mask_text
from .collate import Sample, collate
from .databin import DataBinError, find_split, images_path, pairs_path, text_prefix
from .image_index import ImageIndex, ImageReadError
from .images import BadImageError, decode_rgb, random_crop_box, to_pixels

logger = logging.getLogger(__name__)

# Pairs whose negatives come from one another in validation.
GROUP_SIZE = 64
_VALIDATION_SEED = 20230501
# How many other pairs are tried in place of one whose image is bad, before giving up.
_REPLACEMENTS = 20


class PairOptions(NamedTuple):
    """How pairs become training samples.

    image_size in pixels; max_tokens with <s> and </s>; mask ratios as shares; mask_block in pixels;
    min_crop_scale: smallest area of a random crop, 1 = no cropping.
    """

    image_size: int
    max_tokens: int
    image_mask_ratio: float
    image_mask_block: int
    text_mask_ratio: float
    min_crop_scale: float = 1.0


class PairStore:
    """The pairs of one split as they lie in a data-bin.

    Args:
        folder: the data-bin.
        split: name of a split, or an alias of it.

    Raises:
        DataBinError: the split is missing or its files do not fit together.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.name = find_split(folder, split)
        self.images = ImageIndex(images_path(folder, self.name))
        try:
            self.captions = MMapIndexedDataset(str(text_prefix(folder, self.name)))
            self.image_of_caption = np.load(pairs_path(folder, self.name), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, AssertionError, struct.error) as error:
            raise DataBinError(f"captions or pairs of split {self.name} of {folder} cannot be read: {error}") from error
        images = self.image_of_caption
        if images.shape != (len(self.captions),) or not np.issubdtype(images.dtype, np.integer):
            problem = f"has shape {images.shape} and type {images.dtype} for {len(self.captions)} captions"
        elif len(images) == 0 or images.min() < 0 or images.max() >= len(self.images):
            problem = f"points outside the {len(self.images)} images, or is empty"
        else:
            return
        raise DataBinError(
            f"the pairs table of split {self.name} of {folder} {problem}; "
            "check the folder with mvlm-prep verify, or prepare the data again."
        )

    def __len__(self) -> int:
        return len(self.captions)

    def tokens(self, index: int, bos: int, limit: int) -> np.ndarray:
        """(L,) int64: <s>, the caption, </s>; the middle cut to at most ``limit`` tokens in all."""
        stored = self.captions[index].numpy().astype(np.int64)
        if len(stored) + 1 > limit:
            stored = np.concatenate([stored[: limit - 2], stored[-1:]])
        return np.concatenate([[bos], stored])


class JointMaskedDataset(FairseqDataset):
    """Pairs with one modality or the other masked, drawn from (seed, epoch, index) alone.

    A pair whose image cannot be read is reported and another pair, chosen by its index, stands in for it.

    Args:
        store: the pairs.
        dictionary: of the captions, with <mask> as its last symbol.
        options: image size, masks, crops.
        seed: of masks and crops.
        train: shuffled, cropped, new masks every epoch; otherwise in fixed groups with fixed masks.
    """

    # Batches, masks and workers are made anew every epoch, so that workers know the epoch.
    can_reuse_epoch_itr_across_epochs = False

    def __init__(self, store: PairStore, dictionary: Dictionary, options: PairOptions, seed: int, train: bool) -> None:
        self.store = store
        self.dictionary = dictionary
        self.options = options
        self.seed = seed if train else _VALIDATION_SEED
        self.train = train
        self.epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Training draws new masks every epoch; validation never does."""
        if self.train:
            self.epoch = epoch

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Sample:
        """Sample of pair ``index``, or of another in its place if its image is bad.

        Raises:
            DataBinError: no readable image among all that were tried.
        """
        for attempt in range(_REPLACEMENTS):
            pair = int(index)
            if attempt:
                pair = int(np.random.default_rng([self.seed, index, attempt]).integers(len(self)))
            try:
                return self._sample(pair, bad_images=attempt)
            except (ImageReadError, BadImageError) as error:
                logger.warning("pair %d of %s left out, another stands in: %s", pair, self.store.name, error)
        raise DataBinError(
            f"no readable image among {_REPLACEMENTS} pairs of split {self.store.name}; check it with mvlm-prep verify."
        )

    def _sample(self, index: int, bad_images: int) -> Sample:
        options = self.options
        rng = np.random.default_rng([self.seed, self.epoch, index])
        image_id = int(self.store.image_of_caption[index])
        image = decode_rgb(self.store.images.read(image_id))
        cropped = self.train and options.min_crop_scale < 1.0
        box = random_crop_box(*image.size, options.min_crop_scale, rng) if cropped else None
        tokens = self.store.tokens(index, self.dictionary.bos(), options.max_tokens)
        words = (self.dictionary.nspecial, len(self.dictionary) - 1)
        masked, chosen = mask_text(tokens, options.text_mask_ratio, len(self.dictionary) - 1, words, rng)
        blocks = mask_blocks(options.image_size, options.image_mask_block, options.image_mask_ratio, rng)
        return Sample(
            index, image_id, to_pixels(image, options.image_size, box), tokens, masked, chosen, blocks, bad_images
        )

    def collater(self, samples: list[Sample]) -> dict[str, Any]:
        """Samples -> batch; see collate()."""
        return collate(samples, self.dictionary.pad())

    def ordered_indices(self) -> np.ndarray:
        """Training: a new order every epoch (fairseq seeds it). Validation: one fixed order."""
        if self.train:
            return np.random.permutation(len(self))
        return np.random.default_rng(_VALIDATION_SEED).permutation(len(self))

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Training: batches of max_sentences pairs. Validation: groups of 64, whatever the batch size."""
        if not self.train:
            return split_into_groups(indices, GROUP_SIZE)
        if max_tokens is None:
            size = max_sentences or len(indices)
            return [indices[start : start + size] for start in range(0, len(indices), size)]
        return data_utils.batch_by_size(
            indices, self.num_tokens, None, max_tokens, max_sentences, required_batch_size_multiple
        )

    def num_tokens(self, index: int) -> int:
        """Tokens of caption ``index``, <s> and </s> counted."""
        return min(int(self.store.captions.sizes[index]) + 1, self.options.max_tokens)

    def size(self, index: int) -> int:
        """As num_tokens: what fairseq filters by."""
        return self.num_tokens(index)


def split_into_groups(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive groups of ``size``; a rest of less than half a group joins the last one, so that none is tiny."""
    groups = max(1, (len(indices) + size // 2) // size)
    bounds = [min(i * size, len(indices)) for i in range(groups)] + [len(indices)]
    return [indices[start:end] for start, end in pairwise(bounds)]
