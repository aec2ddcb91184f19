"""The encoders and streams of a pre-trained model, with a classifier in place of its heads."""

import logging
from typing import Any

import torch
from torch import Tensor

from ..heads.contrastive import ContrastiveHead
from ..heads.pair_classifier import PairClassifierHead
from .config import MvlmConfig
from .fused_encoders import FusedEncoders

logger = logging.getLogger(__name__)

HEAD = "head"
# Modules that only pre-training has.
PRETRAINING_PARTS = ("image_decoder", "mlm_head", "matching")


class PairClassifier(FusedEncoders):
    """Classifies texts by what they say of their images.

    Shared parameters have the names that they have in MvlmModel, so that its checkpoints load.

    Args:
        cfg: sizes and component names.
        dictionary: of the texts, the mask symbol included.
        classes: number of classes.
        images: images a text.
    """

    def __init__(self, cfg: MvlmConfig, dictionary: Any, classes: int, images: int = 1) -> None:
        super().__init__(cfg, dictionary)
        self.contrastive = ContrastiveHead(cfg.fusion_width, cfg.fusion_width, cfg.embedding_width)
        self.contrastive.log_temperature.requires_grad_(False)  # nothing is contrasted here
        self.head = PairClassifierHead(cfg.fusion_width, cfg.embedding_width, images, classes, cfg.dropout)
        self.finish()
        for name, parameter in self.image_encoder.named_parameters():
            if name.rpartition(".")[2] == "mask_token":
                parameter.requires_grad_(False)  # nothing is masked here: it would wait for a gradient in vain

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """fairseq's hook before loading: a pre-training checkpoint gives what is shared, the classifier stays new.

        Of any other checkpoint nothing may be missing.

        Raises:
            ValueError: the checkpoint's classifier has other sizes.
        """
        super().upgrade_state_dict_named(state_dict, name)
        own = self.head.state_dict(prefix=f"{HEAD}.")
        parts = {name.partition(".")[0] for name in state_dict}
        if HEAD not in parts and not parts.isdisjoint(PRETRAINING_PARTS):
            _start_from_pretraining(state_dict, own)
        else:
            _check_head(state_dict, own)

    def forward(self, images: Tensor, tokens: Tensor, image_rows: Tensor) -> Tensor:
        """Logits of the classes of B texts, each of which has K of U different images.

        Args:
            images: (U, 3, H, W) uint8; each is encoded once.
            tokens: (B, L) int64, padded.
            image_rows: (B, K) int64, rows of ``images``.

        Returns:
            Tensor of shape (B, classes).
        """
        image = self.encode_image(self.normalize(images))
        text = self.encode_text(tokens)
        texts, count = image_rows.shape
        text_rows = torch.arange(texts, device=tokens.device).repeat_interleave(count)
        padding_mask = tokens.eq(self.padding_idx)
        image_rows = image_rows.flatten()
        tokens_of_pairs = self.fuse_pairs(image, text, padding_mask, image_rows, text_rows)
        image_vectors, text_vectors = self.contrastive.image(image[:, 0]), self.contrastive.text(text[:, 0])
        return self.head(
            *tokens_of_pairs, image_vectors.index_select(0, image_rows), text_vectors.index_select(0, text_rows)
        )


def _start_from_pretraining(state: dict[str, Any], head: dict[str, Tensor]) -> None:
    """Make a pre-training checkpoint's state dict one of this model, in place; whether it fits shows when it is loaded.

    Args:
        state: of the checkpoint.
        head: this model's own initial classifier.
    """
    left_out: dict[str, int] = dict.fromkeys(PRETRAINING_PARTS, 0)
    for name in list(state):
        part = name.partition(".")[0]
        if part in left_out:
            left_out[part] += state.pop(name).numel()
    loaded = sum(value.numel() for value in state.values())
    logger.info(
        "pre-trained encoders and cross-modality streams: %s values loaded; new: %s, %s values; left out: %s",
        f"{loaded:,}",
        HEAD,
        f"{sum(value.numel() for value in head.values()):,}",
        ", ".join(f"{part} ({count:,})" for part, count in left_out.items() if count) or "nothing",
    )
    state.update(head)


def _check_head(state: dict[str, Any], head: dict[str, Tensor]) -> None:
    """Raises ValueError where a checkpoint's classifier is for other classes or another number of images."""
    for name, value in head.items():
        if name in state and state[name].shape != value.shape:
            raise ValueError(
                f"the checkpoint's classifier does not fit these data ({name}: {tuple(state[name].shape)} there, "
                f"{tuple(value.shape)} here): it was trained for other classes or another number of images a text. "
                "Go on with the data that it was trained on, or start from a pre-training checkpoint in a new "
                "--save-dir."
            )
