"""Which pairs a run reads: data-bins, shards, mixtures, a share of the images, and the image pipelines."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from omegaconf import II, MISSING

from ..data.databin import DataBinError, canonical_split, read_manifest, shard_folders
from ..data.dataset import JointMaskedDataset, PairOptions
from ..data.fraction import captions_of_images, images_of_fraction
from ..data.mixture import MixtureDataset, parse_weights, unique_names
from ..data.store import PairStore
from ..data.tokenizers import CaptionTokenizer, load_dictionary, load_tokenizer
from ..data.transforms import Pipeline, default_eval_transform, default_train_transform
from ..models.config import MvlmConfig

logger = logging.getLogger(__name__)


@dataclass
class DataConfig(FairseqDataclass):
    """Where the pairs lie and how images are cropped; masks and sizes are options of the model."""

    data: str = field(
        default=MISSING,
        metadata={
            "help": "data-bin made by mvlm-prep; several, joined by ':', and the shards of one are trained on in turn, "
            "one an epoch, or all at once with --dataset-weights; held-out splits are taken from the first"
        },
    )
    dataset_weights: str = field(
        default="",
        metadata={
            "help": "train on all data-bins at once: relative probability that a pair comes from each, e.g. 3,1 for "
            "D1:D2; an epoch has as many pairs as all of them together"
        },
    )
    data_fraction: float = field(
        default=1.0,
        metadata={
            "help": "train on this share of each data-bin's images, with all their captions; see --fraction-seed"
        },
    )
    fraction_seed: int = field(
        default=1,
        metadata={"help": "which images --data-fraction keeps; with one seed a larger fraction holds the smaller ones"},
    )
    train_crop_scale: float = field(
        default=1.0,
        metadata={"help": "training images: smallest area of a random crop, as a share of the image; 1 = no cropping"},
    )
    train_transform: str = field(
        default="",
        metadata={
            "help": "training images: operations joined by '|', e.g. "
            "'decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)' ({size} = --image-size); "
            "takes the place of --train-crop-scale"
        },
    )
    eval_transform: str = field(
        default="",
        metadata={
            "help": "held-out images, e.g. 'decode|resize({size})|center_crop({size})'; default: stretched to a square"
        },
    )
    seed: int = II("common.seed")


class DataSource:
    """Opens splits for a task.

    Args:
        cfg: the task's options.
        dictionary: of the captions, the mask symbol included.
        make_dataset: makes the data set of one split of one data-bin; called with JointMaskedDataset's arguments.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: Any, dictionary: Dictionary, make_dataset: Callable[..., Any] = JointMaskedDataset) -> None:
        if not 0.0 < cfg.train_crop_scale <= 1.0:
            raise ValueError(f"--train-crop-scale {cfg.train_crop_scale} must lie above 0 and at most at 1")
        if cfg.train_transform and cfg.train_crop_scale != 1.0:
            raise ValueError("give either --train-transform or --train-crop-scale")
        if not 0.0 < cfg.data_fraction <= 1.0:
            raise ValueError(f"--data-fraction {cfg.data_fraction} must lie above 0 and at most at 1")
        self._weights = parse_weights(cfg.dataset_weights)
        self.cfg = cfg
        self.dictionary = dictionary
        self._make_dataset = make_dataset
        self._pair_options: PairOptions | None = None
        self._tokenizer: CaptionTokenizer | None = None

    def shards(self) -> list[Path]:
        """All data-bins, in order; a sharded one stands for its shards."""
        return [shard for path in utils.split_paths(self.cfg.data) for shard in shard_folders(Path(path))]

    @property
    def is_sharded(self) -> bool:
        """Whether the training split is another one in the next epoch."""
        return not self._weights and len(self.shards()) > 1

    def prepare(self, cfg: MvlmConfig) -> None:
        """Take over a model's image size and masks; open() needs them.

        Raises:
            ValueError: an image pipeline does not work or does not end at the model's image size.
        """
        train_transform = self.cfg.train_transform or default_train_transform(self.cfg.train_crop_scale)
        eval_transform = self.cfg.eval_transform or default_eval_transform()
        train_pipeline = Pipeline(train_transform, cfg.image_size)
        eval_pipeline = Pipeline(eval_transform, cfg.image_size, allow_random=False)
        if train_pipeline.needs_caption or eval_pipeline.needs_caption:
            self._tokenizer = load_tokenizer(self.shards()[0])
        self._pair_options = PairOptions(
            cfg.image_size,
            cfg.max_text_tokens,
            cfg.image_mask_ratio,
            cfg.image_mask_block,
            cfg.text_mask_ratio,
            train_transform,
            eval_transform,
        )

    def open(self, split: str, epoch: int) -> Any:
        """A split; of several shards without weights the one of this epoch, if it is ``train``, else the first.

        Raises:
            DataBinError: the data-bin lacks the split or a shard, or the dictionary is not the model's.
            ValueError: not as many --dataset-weights as data-bins.
        """
        shards = self.shards()
        if canonical_split(split) != "train":
            return self._open_one(shards[0], split, train=False)
        for shard in shards:  # now, and not when its turn comes
            read_manifest(shard)
        if self._weights:
            return self._open_mixture(split)
        return self._open_one(shards[(epoch - 1) % len(shards)], split, train=True)

    def _open_one(self, folder: Path, split: str, train: bool) -> Any:
        if self._pair_options is None:
            raise RuntimeError("build the model before loading data: it sets image size and masks")
        if load_dictionary(folder).symbols != self.dictionary.symbols[:-1]:
            raise DataBinError(
                f"{folder} has another dictionary than the one this run started with; prepare it with "
                "--tokenizer-from the data-bin that the model was trained on."
            )
        store = PairStore(folder, split)
        captions, images = None, len(store.images)
        if train and self.cfg.data_fraction < 1.0:
            kept = images_of_fraction(store.hashes, self.cfg.data_fraction, self.cfg.fraction_seed)
            captions, images = captions_of_images(store.pairs, kept, images), len(kept)
        dataset = self._make_dataset(
            store, self.dictionary, self._pair_options, self.cfg.seed, train, captions, self._tokenizer
        )
        logger.info("%s: %d captions of %d images from %s", split, len(dataset), images, folder)
        return dataset

    def _open_mixture(self, split: str) -> MixtureDataset:
        paths = [Path(path) for path in utils.split_paths(self.cfg.data)]
        if len(paths) != len(self._weights):
            raise ValueError(
                f"--dataset-weights {self.cfg.dataset_weights} are {len(self._weights)} for "
                f"{len(paths)} data-bins; give one for each"
            )
        datasets, weights, names = [], [], []
        for path, weight, name in zip(paths, self._weights, unique_names(paths), strict=True):
            shards = [self._open_one(shard, split, train=True) for shard in shard_folders(path)]
            total = sum(len(shard) for shard in shards)
            datasets += shards
            weights += [weight * len(shard) / total for shard in shards]
            names += [name] * len(shards)
        return MixtureDataset(datasets, weights, names, self.cfg.seed)
