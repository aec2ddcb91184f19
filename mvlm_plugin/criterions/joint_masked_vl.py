"""The combined criterion: MLM + MIM + ITC + ITM, each with its weight."""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor

from ..losses.contrastive import contrastive_losses
from ..losses.masked import mim_losses, mlm_losses
from ..losses.matching import matching_losses
from ..models.mvlm import OBJECTIVES
from ..models.outputs import ItcOutput, ItmOutput, PretrainingOutput


@dataclass
class JointMaskedVLCriterionConfig(FairseqDataclass):
    """Weights; 0 switches an objective's work off, not only its loss."""

    mlm_weight: float = field(default=1.0, metadata={"help": "weight of masked language modeling; 0 = off"})
    mim_weight: float = field(default=1.0, metadata={"help": "weight of masked image modeling; 0 = off"})
    itc_weight: float = field(default=1.0, metadata={"help": "weight of the image-text contrastive loss; 0 = off"})
    itm_weight: float = field(default=1.0, metadata={"help": "weight of image-text matching; 0 = off"})


@register_criterion("joint_masked_vl", dataclass=JointMaskedVLCriterionConfig)
class JointMaskedVLCriterion(FairseqCriterion):
    """Sum over pairs of the weighted losses; sample_size counts pairs.

    Raises:
        ValueError: a negative weight, or all weights 0.
    """

    def __init__(self, cfg: JointMaskedVLCriterionConfig, task: Any) -> None:
        super().__init__(task)
        self.weights = {name: float(getattr(cfg, f"{name}_weight")) for name in OBJECTIVES}
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ValueError("--mlm-weight, --mim-weight, --itc-weight, --itm-weight: none negative, and not all 0")
        self.objectives = tuple(name for name, weight in self.weights.items() if weight > 0)

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over the batch's pairs, number of pairs, and sums for the log.

        Args:
            model: MvlmModel, or fairseq's wrapper around it.
            sample: batch as collate() makes it; ``capacity``, where it is there, is the most pairs that any rank's
                batch has (see distributed.padded_rows()).
            reduce: always True.
        """
        output = model(**sample["net_input"], objectives=self.objectives, capacity=sample.get("capacity"))
        loss, log = self.weigh(output, sample)
        return loss, sample["nsentences"], log | self.counts(sample)

    @staticmethod
    def counts(sample: dict[str, Any]) -> dict[str, Any]:
        """What the log has of a batch beside its losses."""
        log = {key: sample[key] for key in ("nsentences", "ntokens", "bad_images")}
        return log | {"sample_size": sample["nsentences"]}

    def weigh(self, output: PretrainingOutput, sample: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The weighted sum of the losses that there are outputs for, over pairs, and sums for the log."""
        log: dict[str, Any] = {}
        losses = self.losses(output, sample, log)
        total = torch.zeros((), device=sample["net_input"]["tokens"].device)
        total = total + sum(self.weights[name] * loss for name, loss in losses.items())
        log.update({f"{name}_loss": loss.detach() for name, loss in losses.items()}, loss=total.detach())
        return total, log

    def losses(self, output: PretrainingOutput, sample: dict[str, Any], log: dict[str, Any]) -> dict[str, Tensor]:
        """The losses that there are outputs for, each a sum over pairs without its weight; adds counts to the log."""
        losses: dict[str, Tensor] = {}
        if output.mlm is not None:
            losses["mlm"] = self._mlm(output.mlm, sample, log)
        if output.mim is not None:
            losses["mim"] = mim_losses(*output.mim).sum()
            log["mim_masked"] = output.mim.mask.sum()
        if output.itc is not None:
            log["temperature"] = sample["nsentences"] * output.itc.temperature.detach()
            if "itc" in self.objectives:
                losses["itc"] = self._itc(output.itc, sample, log)
        if output.itm is not None:
            losses["itm"] = self._itm(output.itm, sample, log)
        return losses

    @staticmethod
    def _mlm(logits: Tensor, sample: dict[str, Any], log: dict[str, Any]) -> Tensor:
        inputs, targets = sample["net_input"], sample["mlm_targets"]
        log["mlm_correct"] = (logits.argmax(dim=1) == targets).sum()
        log["mlm_masked"] = targets.numel()
        return mlm_losses(logits, targets, inputs["mlm_positions"], *inputs["tokens"].shape).sum()

    @staticmethod
    def _itc(output: ItcOutput, sample: dict[str, Any], log: dict[str, Any]) -> Tensor:
        result = contrastive_losses(*output, sample["net_input"]["image_ids"], capacity=sample.get("capacity"))
        log["itc_correct"] = (result.image_correct.sum() + result.text_correct.sum()) / 2
        return result.loss.sum()

    @staticmethod
    def _itm(output: ItmOutput, sample: dict[str, Any], log: dict[str, Any]) -> Tensor:
        losses = matching_losses(output.logits, output.labels, output.valid)
        log["itm_correct"] = ((output.logits.argmax(dim=1) == output.labels) & output.valid).sum()
        log["itm_pairs"] = output.valid.sum()
        return losses.sum() * output.scale

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log means over pairs and accuracies."""
        sums: dict[str, Any] = {}
        for output in logging_outputs:
            for key, value in output.items():
                sums[key] = sums.get(key, 0) + value
        pairs = sums["nsentences"]
        for key in ("loss", *(f"{name}_loss" for name in OBJECTIVES), "temperature"):
            if key in sums:
                metrics.log_scalar(key, sums[key] / pairs, pairs, priority=10, round=6)
        for name, count in (("mlm", "mlm_masked"), ("itc", "nsentences"), ("itm", "itm_pairs")):
            if f"{name}_correct" in sums:
                metrics.log_scalar(
                    f"{name}_acc", sums[f"{name}_correct"] / sums[count], sums[count], priority=20, round=6
                )
        for key in ("mlm_masked", "mim_masked"):
            if key in sums:
                metrics.log_scalar(key, sums[key], priority=30, round=1)
        metrics.log_scalar_sum("bad_images", sums["bad_images"], priority=40)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Ranks may add their log entries: all are sums."""
        return True
