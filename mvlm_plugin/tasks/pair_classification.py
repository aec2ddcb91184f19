"""What the tasks that classify texts and their images share."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..data.answers import Labels, find_field
from ..data.databin import DataBinError
from ..data.dataset import PairOptions
from ..data.labelled import LabelledDataset, LabelledOptions
from ..data.store import PairStore
from ..guards import GuardConfig
from ..models.config import MvlmConfig
from ..models.pair_classifier import PairClassifier
from ..ranks import RanksConfig, step
from .autocast import AutocastConfig
from .data_source import DataConfig
from .pairs import PairsTask

logger = logging.getLogger(__name__)


@dataclass
class PairClassificationConfig(DataConfig, RanksConfig, GuardConfig, AutocastConfig):
    """Options of all classification tasks."""

    label_field: str = field(
        default="",
        metadata={"help": "label field of the data-bin (mvlm-prep stats lists them); default: the task's usual names"},
    )
    image_parts: int = field(
        default=1,
        metadata={
            "help": "cut every image into this many columns of equal width, each of which counts as an image: 3 for "
            "the three boxes of NLVR"
        },
    )
    texts_per_image: int = field(
        default=1,
        metadata={
            "help": "this many texts of an image follow one another in the training order and share its crop, so that "
            "a batch has fewer images to encode"
        },
    )
    shuffled_images: bool = field(
        default=False,
        metadata={
            "help": "the baseline that cannot see: every text has the images of another text of its split, by a "
            "permutation fixed by --seed, in training and in validation"
        },
    )


class PairClassificationTask(PairsTask):
    """Texts, each with the same number of images, and classes.

    Classes and the number of images are kept in the checkpoint, so that evaluation needs no training data.

    Args:
        cfg: the task's options.
        dictionary: of the texts.

    Raises:
        ValueError: an option out of range.
    """

    # Usual names of the label field, best first.
    label_fields: tuple[str, ...] = ("label",)
    # Whether texts may have labels that are no class.
    has_open_labels = False

    def __init__(self, cfg: Any, dictionary: Dictionary) -> None:
        super().__init__(cfg, dictionary)
        for name in ("image_parts", "texts_per_image"):
            if getattr(cfg, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(cfg, name)} must be at least 1")
        if cfg.dataset_weights:
            raise ValueError("--dataset-weights: a classification task trains on one data-bin and its shards")
        self.state.add_factory("classes", self.find_classes)
        self.state.add_factory("images_per_text", self._find_images_per_text)

    def find_classes(self) -> list[str]:
        """Names of the classes, for a model that is trained from here."""
        raise NotImplementedError

    @property
    def classes(self) -> list[str]:
        """Names of the classes: those of the checkpoint that was opened, else those of the training data."""
        return self.state.classes

    def training_stores(self) -> Iterator[PairStore]:
        """The training split of every data-bin."""
        for folder in self._source.shards():
            yield PairStore(folder, "train")

    def _find_images_per_text(self) -> int:
        return self._images_of(next(self.training_stores()))

    def _images_of(self, store: PairStore) -> int:
        """Images a text, parts counted.

        Raises:
            ValueError: --image-parts with several images a text.
        """
        files = 1 if store.pairs.ndim == 1 else store.pairs.shape[1]
        if files > 1 and self.cfg.image_parts > 1:
            raise ValueError(f"--image-parts {self.cfg.image_parts}: the texts of {store.folder} have {files} images")
        return files * self.cfg.image_parts

    def make_model(self, cfg: MvlmConfig) -> PairClassifier:
        """The model of an architecture's config for this task's classes."""
        return PairClassifier(cfg, self.dictionary, len(self.classes), self.state.images_per_text)

    def make_dataset(
        self, store: PairStore, dictionary: Dictionary, options: PairOptions, seed: int, train: bool, *more: Any
    ) -> LabelledDataset:
        """The data set of one split.

        Raises:
            DataBinError: another number of images a text than the model's; see LabelledDataset.
        """
        images = self._images_of(store)
        if images != self.state.images_per_text:
            raise DataBinError(
                f"the texts of {store.folder} have {images} images, the model was made for "
                f"{self.state.images_per_text}; give it data of the same kind, and --image-parts as in training."
            )
        name = find_field(store, self.cfg.label_field, self.label_fields)
        if not name:
            wanted = self.cfg.label_field or " or ".join(self.label_fields)
            logger.warning("split %s of %s has no label field %s", store.name, store.folder, wanted)
        labels = Labels(self.classes, name, self.has_open_labels) if name else None
        labelled = LabelledOptions(self.cfg.image_parts, self.cfg.texts_per_image, self.cfg.shuffled_images)
        return LabelledDataset(store, dictionary, options, labelled, labels, seed, train, *more)

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """fairseq's hook on resuming.

        Raises:
            ValueError: the checkpoint was trained for other classes.
        """
        if state["classes"] != self.classes:
            ours, theirs = set(self.classes) - set(state["classes"]), set(state["classes"]) - set(self.classes)
            change = f"new: {_some(ours)}; missing: {_some(theirs)}" if ours or theirs else "in another order"
            raise ValueError(
                f"cannot resume: the data give other classes than the checkpoint has ({change}). Go on with the data "
                "and options that it was trained with, or start a new run in another --save-dir."
            )
        super().set_checkpoint_dict(state)

    def train_step(
        self, sample: dict[str, Any], model: torch.nn.Module, criterion: Any, optimizer: Any, update_num: int,
        ignore_grad: bool = False, **kwargs: Any,
    ) -> tuple[Tensor, int, dict[str, Any]]:  # fmt: skip
        """fairseq's step, in bfloat16 where that is asked for."""
        with step(update_num):
            around = self.autocast.around(criterion)
            result = super().train_step(sample, model, around, optimizer, update_num, ignore_grad, **kwargs)
        self.guard.updates.saw(result[0])
        return result

    @step()
    def valid_step(
        self, sample: dict[str, Any], model: torch.nn.Module, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """fairseq's step on held-out texts; a process without data left has no texts."""
        model.eval()
        if not sample:
            return torch.zeros(()), 0, {}
        with torch.no_grad():
            loss, size, log = self.autocast.around(criterion)(model, sample)
        if not torch.isfinite(loss):
            logger.error("validation: the loss %s of texts %s is not finite", float(loss), sample["id"].tolist())
        return loss, size, log


def _some(names: set[str]) -> str:
    """A few of a set of names, for messages."""
    few = sorted(names)[:5]
    more = f" and {len(names) - len(few)} others" if len(names) > len(few) else ""
    return f"{', '.join(map(repr, few)) or 'none'}{more}"
