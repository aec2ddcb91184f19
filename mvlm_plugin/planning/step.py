"""A training step as it would be: model, criterion and a batch, of which only shapes and types need to exist."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary

from ..criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig
from ..data.collate import Sample, collate
from ..masking.image import mask_blocks
from ..masking.text import mask_text
from ..models.config import MvlmConfig
from ..models.mvlm import MvlmModel
from ..tasks.feature_cache import CachedStep, split_batch

# RoBERTa's vocabulary.
DEFAULT_VOCABULARY = 50265
DEFAULT_TOKENS = 30


def numbered_dictionary(size: int) -> Dictionary:
    """A dictionary of ``size`` entries, specials and <mask> counted."""
    dictionary = Dictionary()
    for number in range(size - len(dictionary) - 1):
        dictionary.add_symbol(f"w{number}")
    dictionary.add_symbol("<mask>")
    return dictionary


def empty_like(value: Any, device: str) -> Any:
    """A batch with tensors of the same shapes and types on a device, contents undefined."""
    if isinstance(value, dict):
        return {key: empty_like(entry, device) for key, entry in value.items()}
    return torch.empty(value.shape, dtype=value.dtype, device=device) if isinstance(value, torch.Tensor) else value


class _SplitBeforehand(CachedStep):
    """A cached step on tensors without contents, of which nothing can be read: its chunks are given."""

    def __init__(self, model: MvlmModel, criterion: JointMaskedVLCriterion, chunks: list[dict[str, Any]]) -> None:
        super().__init__(model, criterion, chunks[0]["nsentences"])
        self.chunks = chunks

    def split(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        """The given chunks."""
        return self.chunks


@dataclass
class StepOptions:
    """What a step consists of beside its batch size.

    model: the model's config, losses: the criterion's. vocabulary: entries of the dictionary. tokens: of a caption,
    <s> and </s> counted. autocast: "bf16" or "". feature_cache_chunk: pairs that are encoded at a time; 0 = all.
    """

    model: MvlmConfig
    losses: JointMaskedVLCriterionConfig
    vocabulary: int = DEFAULT_VOCABULARY
    tokens: int = DEFAULT_TOKENS
    autocast: str = ""
    feature_cache_chunk: int = 0

    @cached_property
    def dictionary(self) -> Dictionary:
        """A dictionary of that many entries."""
        return numbered_dictionary(self.vocabulary)

    def build(self, device: str) -> tuple[MvlmModel, JointMaskedVLCriterion]:
        """Model in training mode on a device, and criterion."""
        with torch.device(device):
            model = MvlmModel(self.model, self.dictionary)
        task = SimpleNamespace(target_dictionary=self.dictionary)
        return model.train(), JointMaskedVLCriterion(self.losses, task)

    def batch(self, pairs: int) -> dict[str, Any]:
        """A batch as the data set makes it: captions of one length, masked at the config's ratios, and black images.

        With feature_cache_chunk, "chunks" are the batch's.

        Args:
            pairs: B, each of an image of its own.
        """
        cfg, dictionary, rng = self.model, self.dictionary, np.random.default_rng(0)
        # Longer captions are cut, as the data set does.
        length, mask_id = min(self.tokens, cfg.max_text_tokens), len(dictionary) - 1
        words = (dictionary.nspecial, mask_id)
        pixel = torch.zeros(3, 1, 1, dtype=torch.uint8)
        samples = []
        for number in range(pairs):
            inner = rng.integers(*words, size=length - 2)
            caption = np.concatenate([[dictionary.bos()], inner, [dictionary.eos()]]).astype(np.int64)
            masked, chosen = mask_text(caption, cfg.text_mask_ratio, mask_id, words, rng)
            blocks = mask_blocks(cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, rng)
            samples.append(Sample(number, number, pixel, caption, masked, chosen, blocks))
        batch = collate(samples, dictionary.pad())
        images = batch["net_input"]["images"]
        batch["net_input"]["images"] = images.expand(-1, -1, cfg.image_size, cfg.image_size)  # no memory a pixel
        if self.feature_cache_chunk:
            batch["chunks"] = split_batch(batch, self.feature_cache_chunk)
        return batch

    def run(self, model: MvlmModel, criterion: JointMaskedVLCriterion, batch: dict[str, Any], device: str) -> None:
        """Forward and backward.

        Args:
            model, criterion: from build(), on a device without contents ("meta", or any under FakeTensorMode).
            batch: from batch().
            device: where the model is.
        """
        region: Any = nullcontext()
        if self.autocast and torch.amp.is_autocast_available(device):
            region = torch.autocast(device, dtype=torch.bfloat16)
        sample = empty_like(batch, device)
        if self.feature_cache_chunk:
            chunks = [empty_like(chunk, device) for chunk in batch["chunks"]]
            with region:
                _SplitBeforehand(model, criterion, chunks)(sample)
            return
        with region:
            loss, _, _ = criterion(model, sample)
        loss.backward()
