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

from ..data.databin import DataBinError, canonical_split, read_manifest
from ..data.dataset import JointMaskedDataset, PairOptions, PairStore
from ..data.tokenizers import load_dictionary
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
        default=MISSING, metadata={"help": "data-bin made by mvlm-prep; several, joined by ':', are epochs in turn"}
    )
    train_crop_scale: float = field(
        default=1.0,
        metadata={"help": "training images: smallest area of a random crop, as a share of the image; 1 = no cropping"},
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
        self.dictionary = dictionary
        self.dictionary.add_symbol("<mask>")
        self._pair_options: PairOptions | None = None
        self._table: PairTable | None = None
        self._loss_weights: dict[str, float] = {}

    @classmethod
    def setup_task(cls, cfg: JointMaskedVLConfig, **kwargs: Any) -> "JointMaskedVLTask":
        """fairseq's entry. Raises DataBinError where the data-bin is missing or damaged."""
        folder = Path(utils.split_paths(cfg.data)[0])
        read_manifest(folder)
        return cls(cfg, load_dictionary(folder))

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
        """Build the model and take over its image size and masks for the data."""
        model = super().build_model(cfg, from_checkpoint)
        self._pair_options = PairOptions(
            cfg.image_size,
            cfg.max_text_tokens,
            cfg.image_mask_ratio,
            cfg.image_mask_block,
            cfg.text_mask_ratio,
            self.cfg.train_crop_scale,
        )
        return model

    def load_dataset(self, split: str, combine: bool = False, epoch: int = 1, **kwargs: Any) -> None:
        """Open a split. ``train`` is shuffled and masked anew every epoch; any other is fixed.

        Raises:
            DataBinError: the data-bin lacks the split, or the dictionary is not the model's.
        """
        if self._pair_options is None:
            raise RuntimeError("build the model before loading data: it sets image size and masks")
        paths = utils.split_paths(self.cfg.data)
        train = canonical_split(split) == "train"
        folder = Path(paths[(epoch - 1) % len(paths)] if train else paths[0])
        if load_dictionary(folder).symbols != self.dictionary.symbols[:-1]:
            raise DataBinError(
                f"{folder} has another dictionary than the one this run started with; prepare it with "
                "--tokenizer-from the data-bin that the model was trained on."
            )
        store = PairStore(folder, split)
        self.datasets[split] = JointMaskedDataset(store, self.dictionary, self._pair_options, self.cfg.seed, train)
        logger.info("%s: %d captions of %d images from %s", split, len(store), len(store.images), folder)

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
