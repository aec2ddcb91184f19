"""Texts with one or several images and a label: what the classification tasks read."""

import logging
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from torch import Tensor

from .answers import Labels
from .collate import count_bad, pad_rows
from .databin import DataBinError
from .dataset import PairOptions, cut_into_batches
from .grouping import grouped_order, other_texts
from .image_index import ImageReadError
from .images import BadImageError
from .pair_list import PairList
from .replacement import BadPair, read_or_replace
from .store import PairStore
from .tokenizers import CaptionTokenizer
from .transforms import Pipeline

logger = logging.getLogger(__name__)

# Decoded images that a worker keeps: texts of one image follow one another.
_KEPT_IMAGES = 16

# What makes two images of a batch the same pixels: the image, which random draw, and the text where it takes part.
ImageKey = tuple[int, int, int]


class LabelledSample(NamedTuple):
    """One text.

    text: its number in the split; keys: of its image files; images: of each file (parts, 3, S, S) uint8; tokens: (L,)
    int64; scores: number of a class -> score above 0; has_label: whether it has any; bad: texts that were given up in
    favour of this one, or itself for each image of it that is black.
    """

    text: int
    keys: list[ImageKey]
    images: list[Tensor]
    tokens: np.ndarray
    scores: dict[int, float]
    has_label: bool
    bad: tuple[BadPair, ...]


class LabelledOptions(NamedTuple):
    """How texts become samples, beside PairOptions.

    image_parts: columns that every image file is cut into, each of them an image; texts_per_image: texts of the same
    images that follow one another in training, with the same random draws; shuffled_images: give every text the images
    of another one, fixed by ``seed``.
    """

    image_parts: int = 1
    texts_per_image: int = 1
    shuffled_images: bool = False


class LabelledDataset(FairseqDataset):
    """Texts, their images and the scores of the classes, drawn from (seed, epoch, index) alone.

    In training, a text whose image cannot be read is reported, and another one, chosen by its index, stands in for it.
    Held out, it is judged with a black image: every text gets an answer, and figures are over all texts.

    Args:
        store: the texts and images.
        dictionary: of the texts.
        pair_options: image size, length of texts, image pipelines.
        options: see LabelledOptions.
        labels: scores of the classes; None = the split has no labels.
        seed: of order, crops and shuffled images.
        train: shuffled and cropped; texts without a class are left out.
        captions: the texts that take part, in ascending order; None = all of them.
        tokenizer: for image pipelines that read the text.

    Raises:
        ValueError: an image pipeline does not work, or reads texts and no tokenizer is given.
        DataBinError: nothing to train on, a label that is no class, or images that cannot be shuffled.
    """

    # Order and draws are made anew every epoch, so that workers know the epoch.
    can_reuse_epoch_itr_across_epochs = False

    def __init__(
        self,
        store: PairStore,
        dictionary: Dictionary,
        pair_options: PairOptions,
        options: LabelledOptions,
        labels: Labels | None,
        seed: int,
        train: bool,
        captions: np.ndarray | None = None,
        tokenizer: CaptionTokenizer | None = None,
    ) -> None:
        self.store = store
        self.dictionary = dictionary
        self.pair_options = pair_options
        self.options = options
        self.labels = labels
        self.seed = seed
        self.train = train
        transform = pair_options.train_transform if train else pair_options.eval_transform
        self._transform = Pipeline(transform, pair_options.image_size, allow_random=train)
        if self._transform.needs_caption and tokenizer is None:
            raise ValueError(f"image pipeline {transform!r} reads captions: give the data set a tokenizer")
        self._tokenizer = tokenizer
        texts = np.arange(len(store)) if captions is None else captions
        self.texts = self._with_class(texts) if train else texts
        rows = np.asarray(store.pairs[self.texts]).reshape(len(self.texts), -1)
        _, self._image_group = np.unique(rows, axis=0, return_inverse=True)
        self._image_group = self._image_group.reshape(-1)
        self._image_source = self.texts
        if options.shuffled_images:
            others = other_texts(self._image_group, seed)
            self._image_source, self._image_group = self.texts[others], self._image_group[others]
        self._kept: OrderedDict[ImageKey, Tensor] = OrderedDict()
        self._epoch = 0
        self.set_epoch(1)

    def _with_class(self, texts: np.ndarray) -> np.ndarray:
        """The texts that can be learned from; says how many cannot."""
        if self.labels is None:
            raise DataBinError(
                f"split {self.store.name} of {self.store.folder} has no label field to train on; prepare it with "
                "labels (mvlm-prep tsv --fields ...), and name the field with --label-field."
            )
        has_class = np.array([bool(self.labels.scores(self.store.fields(int(text)))) for text in texts], dtype=bool)
        left_out = len(texts) - int(has_class.sum())
        if left_out == len(texts):
            raise DataBinError(f"no text of split {self.store.name} of {self.store.folder} has a label of a class.")
        if left_out:
            logger.info("%d of %d texts are left out of training: their label is no class", left_out, len(texts))
        return texts[has_class]

    def set_epoch(self, epoch: int) -> None:
        """Training: a new order and new draws every epoch. Held out: always the same, texts of one image together."""
        epoch = epoch if self.train else 1
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._kept.clear()
        rng = np.random.default_rng([self.seed, epoch]) if self.train else None
        self._order, self._draws = grouped_order(self._image_group, self.options.texts_per_image, rng)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> LabelledSample:
        """Sample of text ``index`` of those that take part, or of another if an image of it is bad (training).

        Raises:
            DataBinError: no readable image among all that were tried, or the data-bin is damaged.
        """
        if not self.train:
            return self._sample(int(index), ())
        return read_or_replace(
            self._sample, index, len(self), self.seed, lambda place: int(self.texts[place]), "text", self.store.name
        )

    def find_pairs(self, ids: list[int]) -> list[PairList]:
        """Where texts lie, whose numbers are those of a batch's ``id``."""
        return [PairList(str(self.store.folder), self.store.name, ids)]

    def _sample(self, index: int, bad: tuple[BadPair, ...]) -> LabelledSample:
        text = int(self.texts[index])
        tokens = self.store.tokens(text, self.dictionary.bos(), self.pair_options.max_tokens)
        keys, images = [], []
        for image in self.store.images_of(int(self._image_source[index])):
            key = (image, int(self._draws[index]), text if self._transform.needs_caption else -1)
            try:
                pixels = self._pixels(key, tokens)
            except (ImageReadError, BadImageError) as error:
                if self.train:
                    raise
                logger.warning("text %d of %s is judged with a black image: %s", text, self.store.name, error)
                bad += (BadPair(text, str(error)),)
                size = self.pair_options.image_size
                pixels = torch.zeros(self.options.image_parts, 3, size, size, dtype=torch.uint8)
            keys.append(key)
            images.append(pixels)
        fields = self.store.fields(text) if self.labels is not None else None
        has_label = self.labels is not None and self.labels.has_label(fields)
        scores = {} if self.labels is None else self.labels.scores(fields)
        return LabelledSample(text, keys, images, tokens, scores, has_label, bad)

    def _pixels(self, key: ImageKey, tokens: np.ndarray) -> Tensor:
        """(parts, 3, S, S) uint8 of an image file with its draw."""
        known = self._kept.get(key)
        if known is not None:
            self._kept.move_to_end(key)
            return known
        image, draw, _ = key
        caption = self._tokenizer.decode(tokens.tolist()) if self._tokenizer and self._transform.needs_caption else ""
        rng = np.random.default_rng([self.seed, self._epoch, image, draw])
        pixels = self._transform.columns(self.store.images.read(image), self.options.image_parts, rng, caption)
        self._kept[key] = pixels
        if len(self._kept) > _KEPT_IMAGES:
            self._kept.popitem(last=False)
        return pixels

    def collater(self, samples: list[LabelledSample]) -> dict[str, Any]:
        """Samples -> batch; see collate_labelled()."""
        classes = 0 if self.labels is None else len(self.labels.classes)
        return collate_labelled(samples, self.dictionary.pad(), classes)

    def ordered_indices(self) -> np.ndarray:
        """The order of the epoch; see set_epoch()."""
        return self._order

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Batches of max_sentences texts, fewer where they would exceed max_tokens."""
        return cut_into_batches(self, indices, max_tokens, max_sentences, required_batch_size_multiple)

    def num_tokens(self, index: int) -> int:
        """Tokens of text ``index``, <s> and </s> counted."""
        return int(self.num_tokens_vec(np.array([index]))[0])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """(n,) indices -> (n,) int64 tokens; see num_tokens()."""
        sizes = self.store.captions.sizes[self.texts[indices]].astype(np.int64)
        return np.minimum(sizes + 1, self.pair_options.max_tokens)

    def size(self, index: int) -> int:
        """As num_tokens: what fairseq filters by."""
        return self.num_tokens(index)


def collate_labelled(samples: list[LabelledSample], pad: int, classes: int) -> dict[str, Any]:
    """Make a batch in which every different image is there once.

    Args:
        samples: none gives an empty batch, as fairseq wants it for idle ranks.
        pad: id of the padding token.
        classes: number of classes; 0 = no labels.

    Returns:
        dict with ``net_input`` (the model's arguments: images (U, 3, S, S) uint8, tokens (B, L), image_rows (B, K)),
        ``scores`` (B, classes) float32, ``id`` (B,), ``bad``, a list of BadPairs, and counts: ``labelled`` texts have a
        label, ``answerable`` ones a label that is a class.
    """
    if not samples:
        return {}
    first_row: dict[ImageKey, int] = {}
    images: list[Tensor] = []
    rows: list[int] = []
    count = 0
    for sample in samples:
        for key, pixels in zip(sample.keys, sample.images, strict=True):
            if key not in first_row:
                first_row[key] = count
                count += len(pixels)
                images.append(pixels)
            rows += range(first_row[key], first_row[key] + len(pixels))
    scores = torch.zeros(len(samples), classes)
    for row, sample in enumerate(samples):
        for number, score in sample.scores.items():
            scores[row, number] = score
    return {
        "id": torch.tensor([sample.text for sample in samples]),
        "nsentences": len(samples),
        "ntokens": sum(len(sample.tokens) for sample in samples),
        **count_bad(samples),
        "labelled": sum(sample.has_label for sample in samples),
        "answerable": sum(bool(sample.scores) for sample in samples),
        "scores": scores,
        "net_input": {
            "images": torch.cat(images),
            "tokens": pad_rows([sample.tokens for sample in samples], pad),
            "image_rows": torch.tensor(rows).view(len(samples), -1),
        },
    }
