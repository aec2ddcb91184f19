"""Fine-tuning for image-text retrieval."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.data import Dictionary
from fairseq.tasks import register_task

from .joint_masked_vl import JointMaskedVLConfig, JointMaskedVLTask


@dataclass
class VlRetrievalConfig(JointMaskedVLConfig):
    """The options of the pre-training, and how many captions of an image meet in a batch."""

    texts_per_image: int = field(
        default=1,
        metadata={
            "help": "this many captions of an image follow one another in the training order, so that an image has "
            "several positives in a batch; make --batch-size a multiple of it"
        },
    )


@register_task("vl_retrieval", dataclass=VlRetrievalConfig)
class VlRetrievalTask(JointMaskedVLTask):
    """Retrieval, from a pre-training checkpoint given with --finetune-from-model.

    Raises:
        ValueError: an option out of range, or mixtures with several captions an image.
    """

    def __init__(self, cfg: VlRetrievalConfig, dictionary: Dictionary) -> None:
        super().__init__(cfg, dictionary)
        if cfg.texts_per_image < 1:
            raise ValueError(f"--texts-per-image {cfg.texts_per_image} must be at least 1")
        if cfg.texts_per_image > 1 and cfg.dataset_weights:
            raise ValueError("--texts-per-image does not go together with --dataset-weights, which draws single pairs")

    def load_dataset(self, split: str, combine: bool = False, epoch: int = 1, **kwargs: Any) -> None:
        """Open a split; see JointMaskedVLTask.load_dataset()."""
        super().load_dataset(split, combine, epoch, **kwargs)
        self.datasets[split].texts_per_image = self.cfg.texts_per_image
