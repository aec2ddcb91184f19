"""Loss and accuracy of classes whose scores may be soft."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq import metrics
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from torch import Tensor

LOSSES = ("cross_entropy", "bce")


@dataclass
class VlClassificationConfig(FairseqDataclass):
    """The form of the loss."""

    label_loss: str = field(
        default="cross_entropy",
        metadata={
            "help": "cross_entropy: one class, soft scores made to sum to 1; bce: every class by itself, usual for VQA "
            "v2, where several answers are right"
        },
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "share of the probability that all classes get alike, for cross_entropy"}
    )


def label_losses(logits: Tensor, scores: Tensor, kind: str = "cross_entropy", smoothing: float = 0.0) -> Tensor:
    """Loss of each text in nats; 0 where no class has a score.

    Args:
        logits: (B, C) float32.
        scores: (B, C) from 0 to 1.
        kind: of LOSSES; bce is summed over the classes.
        smoothing: from 0 to 1, for cross_entropy.

    Returns:
        Tensor of shape (B,).
    """
    total = scores.sum(dim=1)
    if kind == "bce":
        losses = F.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(dim=1)
    else:
        target = scores / total.clamp_min(torch.finfo(scores.dtype).tiny)[:, None]
        target = (1 - smoothing) * target + smoothing / scores.size(1)
        losses = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    return losses * (total > 0)


@register_criterion("vl_classification", dataclass=VlClassificationConfig)
class VlClassificationCriterion(FairseqCriterion):
    """Sum over texts; sample_size counts those with a label that is a class, which in training are all.

    Accuracy is the mean score of the likeliest class over all texts with a label, be it a class or not.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: VlClassificationConfig, task: Any) -> None:
        super().__init__(task)
        if cfg.label_loss not in LOSSES:
            raise ValueError(f"--label-loss {cfg.label_loss}: unknown; choices: {', '.join(LOSSES)}")
        if not 0.0 <= cfg.label_smoothing < 1.0:
            raise ValueError(f"--label-smoothing {cfg.label_smoothing} must be at least 0 and below 1")
        if cfg.label_smoothing and cfg.label_loss != "cross_entropy":
            raise ValueError(f"--label-smoothing does not go together with --label-loss {cfg.label_loss}")
        self.cfg = cfg

    def forward(
        self, model: torch.nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss summed over the batch's texts, number of texts with a loss, and sums for the log.

        Args:
            model: PairClassifier, or fairseq's wrapper around it.
            sample: batch as collate_labelled() makes it.
            reduce: always True.
        """
        logits = model(**sample["net_input"]).float()
        scores = sample["scores"]
        loss = label_losses(logits, scores, self.cfg.label_loss, self.cfg.label_smoothing).sum()
        right = scores.gather(1, logits.detach().argmax(dim=1, keepdim=True)).sum()
        log = {key: sample[key] for key in ("nsentences", "ntokens", "bad_images", "labelled", "answerable")}
        log |= {"sample_size": sample["answerable"], "loss": loss.detach(), "right": right}
        return loss, sample["answerable"], log

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log means over texts; weighted by their number, so that those of a split do not depend on its batches."""
        sums: dict[str, Any] = {}
        for output in logging_outputs:
            for key, value in output.items():
                sums[key] = sums.get(key, 0) + value
        for name, total, count in (("loss", "loss", "answerable"), ("accuracy", "right", "labelled")):
            texts = sums.get(count, 0)
            mean = sums[total] / texts if texts else math.nan
            metrics.log_scalar(name, mean, texts, priority=10 if name == "loss" else 20, round=6)
        for key in ("labelled", "bad_images"):
            metrics.log_scalar_sum(key, sums.get(key, 0), priority=40)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Ranks may add their log entries: all are sums."""
        return True
