"""The joint masking task: pairs from a data-bin, pre-training, and whole-set validation."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import metrics
from fairseq.data import Dictionary
from fairseq.tasks import register_task
from torch import Tensor

from ..data.dataset import JointMaskedDataset
from ..distributed import rank
from ..evaluation.pair_table import FIGURES, PairTable
from ..evaluation.pretraining import COLUMNS, GroupResult, evaluate_group
from ..guards import GuardConfig
from ..models.mvlm import OBJECTIVES, MvlmModel
from ..panels import PanelConfig, Panels
from ..ranks import RanksConfig, step, without_pairs
from .autocast import AutocastConfig
from .data_source import DataConfig
from .global_batch import GlobalBatch, GlobalBatchConfig
from .pairs import PairsTask

logger = logging.getLogger(__name__)
_NAMED = 20  # pairs in a message


@dataclass
class JointMaskedVLConfig(DataConfig, RanksConfig, GlobalBatchConfig, GuardConfig, AutocastConfig, PanelConfig):
    """All options of the task, by the files that read them."""


@register_task("joint_masked_vl", dataclass=JointMaskedVLConfig)
class JointMaskedVLTask(PairsTask):
    """Joint masked vision and language modeling on image-text pairs.

    Args:
        cfg: the task's options.
        dictionary: of the captions; <mask> is added as its last symbol.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: JointMaskedVLConfig, dictionary: Dictionary) -> None:
        super().__init__(cfg, dictionary)
        self._global_batch = GlobalBatch(cfg)
        self._table: PairTable | None = None
        self._loss_weights: dict[str, float] = {}
        self._criterion: Any = None
        self._panels = Panels(cfg, self._source, self.autocast)

    def train_step(
        self,
        sample: dict[str, Any],
        model: torch.nn.Module,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """fairseq's step; counts the pairs of each data-bin of a mixture. ignore_grad: a process without data left."""
        if ignore_grad:
            sample = without_pairs(sample)
        sample = {**sample, "capacity": self._global_batch.capacity}
        self._criterion = criterion
        with step(update_num):
            rest = (optimizer, update_num, ignore_grad)
            with self.autocast.region(sample["net_input"]["tokens"].device):
                result = self._global_batch.step(sample, model, criterion, update_num, ignore_grad)
            if result is None:
                result = super().train_step(sample, model, self.autocast.around(criterion), *rest, **kwargs)
        loss, sample_size, log = result
        self.guard.updates.saw(loss)
        log.update({f"pairs_{name}": count for name, count in sample.get("source_pairs", {}).items()})
        return loss, sample_size, log

    def optimizer_step(self, optimizer: Any, model: torch.nn.Module, update_num: int) -> None:
        """fairseq's hook: makes the update; update_num counts those before it."""
        super().optimizer_step(optimizer, model, update_num)
        self._panels.after_update(update_num + 1, model, self._criterion)

    def get_batch_iterator(self, dataset: JointMaskedDataset, *args: Any, **kwargs: Any) -> Any:
        """fairseq's iterator; a pass over held-out data starts with an empty table of results."""
        if not dataset.train:
            self._table = PairTable(len(dataset), len(dataset.store.images))
            self._validated = dataset.store
        return super().get_batch_iterator(dataset, *args, **kwargs)

    @step()
    def valid_step(
        self, sample: dict[str, Any], model: MvlmModel, criterion: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Measure one fixed group of pairs and add it to the table; all ranks call this together."""
        assert self._table is not None, "get_batch_iterator() starts a validation"
        model.eval()
        self._loss_weights = criterion.weights
        device = next(model.parameters()).device
        if sample:
            with self.autocast.region(device):
                result = evaluate_group(model, sample)
            pair_ids, image_ids = sample["id"], sample["net_input"]["image_ids"]
        else:  # a rank without data still takes part in the gather
            width = model.cfg.embedding_width
            empty = torch.zeros(0, width, device=device)
            result = GroupResult(torch.zeros(0, len(COLUMNS), dtype=torch.float64, device=device), empty, empty)
            pair_ids = image_ids = torch.zeros(0, dtype=torch.int64, device=device)
        new = self._table.add(result, pair_ids, image_ids)
        if new and self._table.count == len(self._validated):
            self._report_not_finite(self._table)
        log = {
            "pairs": new if rank() == 0 else 0,
            "bad_images": sample.get("bad_images", 0),
            "nsentences": len(pair_ids),
            "ntokens": sample.get("ntokens", 0),
            "sample_size": len(pair_ids),
        }
        return result.figures.new_zeros(()), len(pair_ids), log

    def _report_not_finite(self, table: PairTable) -> None:
        """Name the pairs of a whole split whose figures are not finite."""
        pairs, store = table.not_finite(), self._validated
        if pairs and rank() == 0:
            logger.error(
                "%d of %d pairs of split %s of %s have losses that are not finite, and so has the split: %s%s (see "
                "mvlm-prep show %s --split %s --index %d)",
                len(pairs), len(store), store.name, store.folder, ", ".join(map(str, pairs[:_NAMED])),
                " ..." if len(pairs) > _NAMED else "", store.folder, store.name, pairs[0],
            )  # fmt: skip

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
                    loss = sum(weights[objective] * result[f"{objective}_loss"] for objective in OBJECTIVES)
                    # fairseq compares it with the best one so far, and nan would be the best for ever.
                    return loss if math.isfinite(loss) else math.inf
                return result[name]

            return compute

        for name in ("loss", *FIGURES):
            metrics.log_derived(name, figure(name), priority=10 if name.endswith("loss") else 20)
