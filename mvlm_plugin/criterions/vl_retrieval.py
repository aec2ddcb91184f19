"""Fine-tuning for retrieval: ITC + ITM, and the masked objectives where they are wanted."""

from dataclasses import dataclass, field

from fairseq.criterions import register_criterion

from .joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig


@dataclass
class VlRetrievalCriterionConfig(JointMaskedVLCriterionConfig):
    """The same weights, the masked objectives off by default."""

    mlm_weight: float = field(default=0.0, metadata={"help": "weight of masked language modeling; 0 = off"})
    mim_weight: float = field(default=0.0, metadata={"help": "weight of masked image modeling; 0 = off"})


@register_criterion("vl_retrieval", dataclass=VlRetrievalCriterionConfig)
class VlRetrievalCriterion(JointMaskedVLCriterion):
    """The losses of the pre-training. Several captions of an image in a batch are several positives of it.

    Each pair is contrasted with all pairs of other images: an image with N captions enters the contrastive loss with N
    positives, each in a softmax of its own from which the other N - 1 are left out, and none is ever a negative.
    """
