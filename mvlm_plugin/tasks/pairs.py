"""What all tasks of the plugin share: the dictionary, where pairs come from, and what a checkpoint keeps of a task."""

from pathlib import Path
from typing import Any, Self

import torch
from fairseq import utils
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask

from ..allocator import keep_freed_memory
from ..checkpointing.loop import PATIENCE, patience_state
from ..data.databin import shard_folders
from ..data.dataset import JointMaskedDataset
from ..data.tokenizers import load_dictionary
from ..guards import TrainingGuard
from ..interop.pretrained import load_pretrained
from ..models.config import MvlmConfig
from ..ranks import join_ranks
from .autocast import Autocast
from .data_source import DataSource


class PairsTask(FairseqTask):
    """A task on the pairs of a data-bin.

    Args:
        cfg: the task's options, with those of DataConfig, RanksConfig, GuardConfig and AutocastConfig.
        dictionary: of the captions; <mask> is added as its last symbol.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: Any, dictionary: Dictionary) -> None:
        super().__init__(cfg)
        self.dictionary = dictionary
        self.dictionary.add_symbol("<mask>")
        self.autocast = Autocast(cfg)
        self.guard = TrainingGuard(cfg)
        self.epoch = 1
        self._source = DataSource(cfg, dictionary, self.make_dataset)
        self.provenance: dict[str, Any] = {}  # see training_record.py, which fills it when a training begins

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Self:
        """fairseq's entry. Raises DataBinError where the data-bin is missing or damaged."""
        join_ranks(cfg)
        if not torch.cuda.is_available():
            keep_freed_memory()
        return cls(cfg, load_dictionary(shard_folders(Path(utils.split_paths(cfg.data)[0]))[0]))

    @property
    def source_dictionary(self) -> Dictionary:
        """Dictionary of the captions."""
        return self.dictionary

    @property
    def target_dictionary(self) -> Dictionary:
        """The same."""
        return self.dictionary

    def max_positions(self) -> None:
        """No pair is too long: captions are cut."""
        return None

    def make_dataset(self, *arguments: Any) -> Any:
        """The data set of one split; called with JointMaskedDataset's arguments."""
        return JointMaskedDataset(*arguments)

    def build_model(self, cfg: MvlmConfig, from_checkpoint: bool = False) -> torch.nn.Module:
        """Build the model and take over its image size and masks for the data.

        Raises:
            ValueError: an image pipeline does not work or does not end at the model's image size.
        """
        self._source.prepare(cfg)
        model = super().build_model(cfg, from_checkpoint)
        if not from_checkpoint:
            self.load_state_dict({"pretrained": load_pretrained(model, cfg, self.dictionary, self._source.shards()[0])})
        return model

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """fairseq's hook: the task's state, how patient the run still is, and the record of what made it.

        The state holds the records of pre-trained weights.
        """
        return {
            type(self).__name__: self.state_dict(),
            PATIENCE: patience_state(),
            "provenance": self.provenance,
        }

    def set_checkpoint_dict(self, state: dict[str, Any]) -> None:
        """fairseq's hook on resuming: the checkpoint's weights win, and so do its records."""
        self.load_state_dict(state)

    def begin_epoch(self, epoch: int, model: torch.nn.Module) -> None:
        """fairseq's hook."""
        self.epoch = epoch

    def has_sharded_data(self, split: str) -> bool:
        """Whether fairseq must load ``split`` again every epoch."""
        return self._source.is_sharded

    def load_dataset(self, split: str, combine: bool = False, epoch: int = 1, **kwargs: Any) -> None:
        """Open a split. ``train`` is shuffled and drawn anew every epoch; any other is fixed.

        Raises:
            DataBinError: the data-bin lacks the split, or the dictionary is not the model's.
            ValueError: not as many --dataset-weights as data-bins.
        """
        self.datasets[split] = self._source.open(split, epoch)

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """fairseq's iterator, without what does not suit data sets that order themselves anew every epoch."""
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        # Every pass has workers of its own. Persistent ones would live on after it, until Python collects the
        # iterator and waits five seconds for each.
        iterator.persistent_workers = False
        # Pairs come in a new order every epoch. Without another shuffle of batches, processes with small batches train
        # on the same pairs in each update as one process with a large batch.
        iterator.disable_shuffling = True
        return iterator
