"""The joint masking task: pairs from a data-bin, pre-training, and whole-set validation."""

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fairseq import metrics, utils
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import II, MISSING
from torch import Tensor

from ..data.databin import DataBinError, canonical_split, shard_folders
from ..data.dataset import JointMaskedDataset, PairOptions
from ..data.fraction import captions_of_images, images_of_fraction
from ..data.mixture import MixtureDataset, parse_weights, unique_names
from ..data.store import PairStore
from ..data.tokenizers import CaptionTokenizer, load_dictionary, load_tokenizer
from ..data.transforms import Pipeline, default_eval_transform, default_train_transform
from ..distributed import rank
from ..evaluation.pair_table import FIGURES, PairTable
from ..evaluation.pretraining import COLUMNS, GroupResult, evaluate_group
from ..models.config import MvlmConfig
from ..models.mvlm import OBJECTIVES, MvlmModel

logger = logging.getLogger(__name__)


@dataclass
class JointMaskedVLConfig(FairseqDataclass):
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


@register_task("joint_masked_vl", dataclass=JointMaskedVLConfig)
class JointMaskedVLTask(FairseqTask):
    """Joint masked vision and language modeling on image-text pairs.

    Args:
        cfg: the task's options.
        dictionary: of the captions; <mask> is added as its last symbol.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: JointMaskedVLConfig, dictionary: Dictionary) -> None:
        super().__init__(cfg)
        if not 0.0 < cfg.train_crop_scale <= 1.0:
            raise ValueError(f"--train-crop-scale {cfg.train_crop_scale} must lie above 0 and at most at 1")
        if cfg.train_transform and cfg.train_crop_scale != 1.0:
            raise ValueError("give either --train-transform or --train-crop-scale")
        if not 0.0 < cfg.data_fraction <= 1.0:
            raise ValueError(f"--data-fraction {cfg.data_fraction} must lie above 0 and at most at 1")
        self._dataset_weights = parse_weights(cfg.dataset_weights)
        self.dictionary = dictionary
        self.dictionary.add_symbol("<mask>")
        self._pair_options: PairOptions | None = None
        self._tokenizer: CaptionTokenizer | None = None
        self._table: PairTable | None = None
        self._loss_weights: dict[str, float] = {}

    @classmethod
    def setup_task(cls, cfg: JointMaskedVLConfig, **kwargs: Any) -> "JointMaskedVLTask":
        """fairseq's entry. Raises DataBinError where the data-bin is missing or damaged."""
        return cls(cfg, load_dictionary(shard_folders(Path(utils.split_paths(cfg.data)[0]))[0]))

    @property
    def source_dictionary(self) -> Dictionary:
        """Dictionary of the captions."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The same: masked words are predicted."""
        return self.dictionary

    def max_positions(self) -> None:
        """No pair is too long: captions are cut."""
        return None

    def build_model(self, cfg: MvlmConfig, from_checkpoint: bool = False) -> torch.nn.Module:
        """Build the model and take over its image size and masks for the data.

        Raises:
            ValueError: an image pipeline does not work or does not end at the model's image size.
        """
        train_transform = self.cfg.train_transform or default_train_transform(self.cfg.train_crop_scale)
        eval_transform = self.cfg.eval_transform or default_eval_transform()
        train_pipeline = Pipeline(train_transform, cfg.image_size)
        eval_pipeline = Pipeline(eval_transform, cfg.image_size, allow_random=False)
        if train_pipeline.needs_caption or eval_pipeline.needs_caption:
            self._tokenizer = load_tokenizer(self._shards()[0])
        model = super().build_model(cfg, from_checkpoint)
        self._pair_options = PairOptions(
            cfg.image_size,
            cfg.max_text_tokens,
            cfg.image_mask_ratio,
            cfg.image_mask_block,
            cfg.text_mask_ratio,
            train_transform,
            eval_transform,
        )
        return model

    def has_sharded_data(self, split: str) -> bool:
        """Whether fairseq must load ``split`` again every epoch."""
        return not self._dataset_weights and len(self._shards()) > 1

    def load_dataset(self, split: str, combine: bool = False, epoch: int = 1, **kwargs: Any) -> None:
        """Open a split. ``train`` is shuffled and masked anew every epoch; any other is fixed.

        Raises:
            DataBinError: the data-bin lacks the split, or the dictionary is not the model's.
            ValueError: not as many --dataset-weights as data-bins.
        """
        shards = self._shards()
        if canonical_split(split) != "train":
            self.datasets[split] = self._open(shards[0], split, train=False)
        elif self._dataset_weights:
            self.datasets[split] = self._open_mixture(split)
        else:
            self.datasets[split] = self._open(shards[(epoch - 1) % len(shards)], split, train=True)

    def _shards(self) -> list[Path]:
        """All data-bins, in order; a sharded one stands for its shards."""
        return [shard for path in utils.split_paths(self.cfg.data) for shard in shard_folders(Path(path))]

    def _open(self, folder: Path, split: str, train: bool) -> JointMaskedDataset:
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
        dataset = JointMaskedDataset(
            store, self.dictionary, self._pair_options, self.cfg.seed, train, captions, self._tokenizer
        )
        logger.info("%s: %d captions of %d images from %s", split, len(dataset), images, folder)
        return dataset

    def _open_mixture(self, split: str) -> MixtureDataset:
        paths = [Path(path) for path in utils.split_paths(self.cfg.data)]
        if len(paths) != len(self._dataset_weights):
            raise ValueError(
                f"--dataset-weights {self.cfg.dataset_weights} are {len(self._dataset_weights)} for "
                f"{len(paths)} data-bins; give one for each"
            )
        datasets, weights, names = [], [], []
        for path, weight, name in zip(paths, self._dataset_weights, unique_names(paths), strict=True):
            shards = [self._open(shard, split, train=True) for shard in shard_folders(path)]
            total = sum(len(shard) for shard in shards)
            datasets += shards
            weights += [weight * len(shard) / total for shard in shards]
            names += [name] * len(shards)
        return MixtureDataset(datasets, weights, names, self.cfg.seed)

    def train_step(self, sample: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Tensor, int, dict[str, Any]]:
        """fairseq's step; counts the pairs of each data-bin of a mixture."""
        loss, sample_size, log = super().train_step(sample, *args, **kwargs)
        log.update({f"pairs_{name}": count for name, count in sample.get("source_pairs", {}).items()})
        return loss, sample_size, log

    def get_batch_iterator(self, dataset: JointMaskedDataset, *args: Any, **kwargs: Any) -> Any:
        """fairseq's iterator; a pass over held-out data starts with an empty table of results."""
        if not dataset.train:
            self._table = PairTable(len(dataset), len(dataset.store.images))
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        # Every pass has workers of its own. Persistent ones would live on after it, until Python collects the
        # iterator and waits five seconds for each.
        iterator.persistent_workers = False
        return iterator

    def valid_step(
        self, sample: dict[str, Any], model: MvlmModel, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Measure one fixed group of pairs and add it to the table; all ranks call this together."""
        assert self._table is not None, "get_batch_iterator() starts a validation"
        model.eval()
        self._loss_weights = criterion.weights
        device = next(model.parameters()).device
        if sample:
            result = evaluate_group(model, sample)
            pair_ids, image_ids = sample["id"], sample["net_input"]["image_ids"]
        else:  # a rank without data still takes part in the gather
            width = model.cfg.embedding_width
            empty = torch.zeros(0, width, device=device)
            result = GroupResult(torch.zeros(0, len(COLUMNS), dtype=torch.float64, device=device), empty, empty)
            pair_ids = image_ids = torch.zeros(0, dtype=torch.int64, device=device)
        new = self._table.add(result, pair_ids, image_ids)
        log = {
            "pairs": new if rank() == 0 else 0,
            "bad_images": sample.get("bad_images", 0),
            "nsentences": len(pair_ids),
            "ntokens": sample.get("ntokens", 0),
            "sample_size": len(pair_ids),
        }
        return result.figures.new_zeros(()), len(pair_ids), log

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Training: the criterion's means. Validation: figures over the whole subset."""
        if not any("pairs" in output for output in logging_outputs):
            super().reduce_metrics(logging_outputs, criterion)
            for key in logging_outputs[0]:
                if key.startswith("pairs_"):
                    metrics.log_scalar_sum(key, sum(output[key] for output in logging_outputs), priority=40)
            return
        for key in ("pairs", "bad_images"):
            metrics.log_scalar_sum(key, sum(output.get(key, 0) for output in logging_outputs), priority=40)
        table, weights = self._table, dict(self._loss_weights)

        def figure(name: str) -> Any:
            def compute(meters: Any) -> float:
                # fairseq evaluates this after every batch too, where the whole set's figures are not wanted.
                if table is None or int(meters["pairs"].sum) != table.count:
                    return math.nan
                result = table.result()
                if name == "loss":
                    return sum(weights[objective] * result[f"{objective}_loss"] for objective in OBJECTIVES)
                return result[name]

            return compute

        for name in ("loss", *FIGURES):
            metrics.log_derived(name, figure(name), priority=10 if name.endswith("loss") else 20)
