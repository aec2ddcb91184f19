"""Visual entailment: does an image say that a sentence is true, that it is false, or neither (SNLI-VE)."""

from dataclasses import dataclass

from fairseq.tasks import register_task

from .pair_classification import PairClassificationConfig, PairClassificationTask


@dataclass
class VlEntailmentConfig(PairClassificationConfig):
    """The options that all classification tasks have."""


@register_task("vl_entailment", dataclass=VlEntailmentConfig)
class VlEntailmentTask(PairClassificationTask):
    """Entailment, neutral or contradiction, as Xie et al., 2019, label a hypothesis about a photo."""

    label_fields = ("label", "gold_label")

    def find_classes(self) -> list[str]:
        """The three of SNLI."""
        return ["entailment", "neutral", "contradiction"]
