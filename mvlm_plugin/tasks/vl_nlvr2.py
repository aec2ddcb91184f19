"""Is a sentence about several images true (NLVR2: two photos; NLVR: the three boxes of a picture)."""

from dataclasses import dataclass

from fairseq.tasks import register_task

from .pair_classification import PairClassificationConfig, PairClassificationTask


@dataclass
class VlNlvr2Config(PairClassificationConfig):
    """The options that all classification tasks have; the number of images is that of the data-bin."""


@register_task("vl_nlvr2", dataclass=VlNlvr2Config)
class VlNlvr2Task(PairClassificationTask):
    """False or true, as Suhr et al., 2019, label a sentence about a pair of photos."""

    def find_classes(self) -> list[str]:
        """The class of a true sentence is 1."""
        return ["False", "True"]
