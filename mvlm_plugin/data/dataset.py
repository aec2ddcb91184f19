"""Image and caption pairs of a data-bin, masked: what fairseq's loaders read."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from fairseq.data import Dictionary, FairseqDataset, data_utils
from torch import Tensor

from ..masking.image import mask_blocks
from ..masking.text import mask_text
from .collate import Sample, collate, pad_rows
from .grouping import grouped_order
from .pair_list import PairList
from .replacement import BadPair, read_or_replace
from .store import PairStore
from .tokenizers import CaptionTokenizer
from .transforms import Pipeline, default_eval_transform, default_train_transform

# Pairs whose negatives come from one another in validation.
GROUP_SIZE = 64
_VALIDATION_SEED = 20230501


class PairOptions(NamedTuple):
    """How pairs become training samples.

    image_size in pixels; max_tokens with <s> and </s>; mask ratios as shares; mask_block in pixels;
    train_transform, eval_transform: image pipelines, see data.transforms.Pipeline.
    """

    image_size: int
    max_tokens: int
    image_mask_ratio: float
    image_mask_block: int
    text_mask_ratio: float
    train_transform: str = default_train_transform()
    eval_transform: str = default_eval_transform()


class JointMaskedDataset(FairseqDataset):
    """Pairs with one modality or the other masked, drawn from (seed, epoch, index) alone.

    Set ``texts_per_image`` to let that many captions of an image follow one another in the training order.

    A pair whose image cannot be read is reported and another pair, chosen by its index, stands in for it.

    Args:
        store: the pairs.
        dictionary: of the captions, with <mask> as its last symbol.
        options: image size, masks, image pipelines.
        seed: of masks and crops.
        train: shuffled, cropped, new masks every epoch; otherwise in fixed groups with fixed masks.
        captions: the captions that take part, in ascending order; None = all of them.
        tokenizer: for image pipelines that read the caption.

    Raises:
        ValueError: an image pipeline does not work, or reads captions and no tokenizer is given.
    """

    # Batches, masks and workers are made anew every epoch, so that workers know the epoch.
    can_reuse_epoch_itr_across_epochs = False

    def __init__(
        self,
        store: PairStore,
        dictionary: Dictionary,
        options: PairOptions,
        seed: int,
        train: bool,
        captions: np.ndarray | None = None,
        tokenizer: CaptionTokenizer | None = None,
    ) -> None:
        self.store = store
        self.captions = captions
        self.dictionary = dictionary
        self.options = options
        self.seed = seed if train else _VALIDATION_SEED
        self.train = train
        self.texts_per_image = 1
        self.epoch = 1
        transform = options.train_transform if train else options.eval_transform
        self._transform = Pipeline(transform, options.image_size, allow_random=train)
        if self._transform.needs_caption and tokenizer is None:
            raise ValueError(f"image pipeline {transform!r} reads captions: give the data set a tokenizer")
        self._tokenizer = tokenizer

    def set_epoch(self, epoch: int) -> None:
        """Training draws new masks every epoch; validation never does."""
        if self.train:
            self.epoch = epoch

    def __len__(self) -> int:
        return len(self.store if self.captions is None else self.captions)

    def __getitem__(self, index: int) -> Sample:
        """Sample of pair ``index`` with the masks of this epoch; see draw()."""
        return self.draw(index, self.epoch)

    def draw(self, index: int, epoch: int) -> Sample:
        """Sample of pair ``index`` with the masks of an epoch, or of another in its place if its image is bad.

        Raises:
            DataBinError: no readable image among all that were tried, or the data-bin is damaged.
        """
        return read_or_replace(
            lambda place, given_up: self._sample(self._pair(place), epoch, given_up),
            index,
            len(self),
            self.seed,
            self._pair,
            "pair",
            self.store.name,
        )

    def _pair(self, place: int) -> int:
        """The caption's number in its split."""
        return place if self.captions is None else int(self.captions[place])

    def find_pairs(self, ids: list[int]) -> list[PairList]:
        """Where pairs lie, whose numbers are those of a batch's ``id``."""
        return [PairList(str(self.store.folder), self.store.name, ids)]

    def pixels(self, image_id: int) -> Tensor:
        """Held-out image ``image_id`` as it is, whatever captions it has: (3, S, S) uint8. No other stands in for it.

        Raises:
            ImageReadError, BadImageError: it cannot be read.
            ValueError: the split is for training, or its image pipeline reads captions.
        """
        if self.train or self._transform.needs_caption:
            raise ValueError(f"image pipeline {self._transform.text!r} changes from caption to caption")
        return self._transform(self.store.images.read(image_id), np.random.default_rng(_VALIDATION_SEED))

    def tokens(self, captions: Iterable[int]) -> Tensor:
        """Whole captions of the split: (n, L) int64, padded, cut to max_tokens."""
        bos, limit = self.dictionary.bos(), self.options.max_tokens
        return pad_rows([self.store.tokens(int(caption), bos, limit) for caption in captions], self.dictionary.pad())

    def _sample(self, index: int, epoch: int, bad: tuple[BadPair, ...]) -> Sample:
        options = self.options
        rng = np.random.default_rng([self.seed, epoch, index])
        image_id = self.store.images_of(index)[0]
        tokens = self.store.tokens(index, self.dictionary.bos(), options.max_tokens)
        caption = self._tokenizer.decode(tokens.tolist()) if self._tokenizer and self._transform.needs_caption else ""
        pixels = self._transform(self.store.images.read(image_id), rng, caption)
        words = (self.dictionary.nspecial, len(self.dictionary) - 1)
        masked, chosen = mask_text(tokens, options.text_mask_ratio, len(self.dictionary) - 1, words, rng)
        blocks = mask_blocks(options.image_size, options.image_mask_block, options.image_mask_ratio, rng)
        return Sample(index, image_id, pixels, tokens, masked, chosen, blocks, bad)

    def collater(self, samples: list[Sample]) -> dict[str, Any]:
        """Samples -> batch; see collate()."""
        return collate(samples, self.dictionary.pad())

    def ordered_indices(self) -> np.ndarray:
        """Training: a new order every epoch (fairseq seeds it). Validation: one fixed order."""
        if self.train and self.texts_per_image > 1:
            images = np.asarray(self.store.pairs if self.captions is None else self.store.pairs[self.captions])
            rng = np.random.default_rng([self.seed, self.epoch])
            return grouped_order(images.reshape(len(self), -1)[:, 0], self.texts_per_image, rng)[0]
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
        return cut_into_batches(self, indices, max_tokens, max_sentences, required_batch_size_multiple)

    def num_tokens(self, index: int) -> int:
        """Tokens of the caption of pair ``index``, <s> and </s> counted."""
        return int(self.num_tokens_vec(np.array([index]))[0])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """(n,) indices -> (n,) int64 tokens; see num_tokens()."""
        captions = indices if self.captions is None else self.captions[indices]
        return np.minimum(self.store.captions.sizes[captions].astype(np.int64) + 1, self.options.max_tokens)

    def size(self, index: int) -> int:
        """As num_tokens: what fairseq filters by."""
        return self.num_tokens(index)


def cut_into_batches(
    dataset: FairseqDataset,
    indices: np.ndarray,
    max_tokens: int | None,
    max_sentences: int | None,
    required_batch_size_multiple: int,
) -> list[np.ndarray]:
    """Training batches of max_sentences samples each, in order; fewer where they would exceed max_tokens."""
    if max_tokens is None:
        size = max_sentences or len(indices)
        return [indices[start : start + size] for start in range(0, len(indices), size)]
    return data_utils.batch_by_size(
        indices,
        dataset.num_tokens,
        dataset.num_tokens_vec(indices),
        max_tokens,
        max_sentences,
        required_batch_size_multiple,
    )


def split_into_groups(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Consecutive groups of ``size``; a rest of less than half a group joins the last one, so that none is tiny."""
    groups = max(1, (len(indices) + size // 2) // size)
    bounds = [min(i * size, len(indices)) for i in range(groups)] + [len(indices)]
    return [indices[start:end] for start, end in pairwise(bounds)]
