"""Our training step for benchmarks/step.py, and the names of its parts in profiles."""

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from step_setting import Subject, on_device
from torch import Tensor
from torch.profiler import record_function

from mvlm_plugin.allocator import keep_freed_memory
from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig
from mvlm_plugin.data.collate import Sample, collate
from mvlm_plugin.masking.image import mask_blocks
from mvlm_plugin.masking.text import mask_text
from mvlm_plugin.models.architectures import MvlmBaseConfig, MvlmTinyConfig
from mvlm_plugin.models.config import MvlmConfig
from mvlm_plugin.models.mvlm import MvlmModel

VOCABULARY = {"base": 50265, "tiny": 2048}


def dictionary_of(words: int) -> Dictionary:
    """A dictionary of that many entries, the specials and <mask> included."""
    dictionary = Dictionary()
    for number in range(words - dictionary.nspecial - 1):
        dictionary.add_symbol(f"w{number}")
    dictionary.add_symbol("<mask>")
    return dictionary


def make_batch(cfg: MvlmConfig, dictionary: Dictionary, batch: int, tokens: int) -> dict[str, Any]:
    """Random pairs whose captions are ``tokens`` long, <s> and </s> counted, masked and collated as in training."""
    rng = np.random.default_rng(0)
    mask_id = len(dictionary) - 1
    samples = []
    for number in range(batch):
        words = rng.integers(dictionary.nspecial, mask_id, size=tokens - 2)
        caption = np.array([dictionary.bos(), *words, dictionary.eos()])
        masked, chosen = mask_text(caption, cfg.text_mask_ratio, mask_id, (dictionary.nspecial, mask_id), rng)
        blocks = mask_blocks(cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, rng)
        image = torch.from_numpy(rng.integers(0, 256, (3, cfg.image_size, cfg.image_size), dtype=np.uint8))
        samples.append(Sample(number, number, image, caption, masked, chosen, blocks, 0))
    return collate(samples, dictionary.pad())


def plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(QK^T / sqrt(d))V written out."""
    scores = query @ key.transpose(-2, -1) * query.size(-1) ** -0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1) @ value


def build_ours(
    size_name: str,
    batch: int,
    tokens: int,
    vocabulary: int | None,
    device: torch.device,
    visible: bool = False,
    plain: bool = False,
) -> Subject:
    """Our step: all four losses through the criterion; on a CPU freed memory is kept, as in training."""
    if device.type == "cpu":
        keep_freed_memory()
    if plain:
        F.scaled_dot_product_attention = plain_attention
    # No dropout anywhere, as FLAVA has none.
    options: dict[str, Any] = {"dropout": 0.0, "visible_patches_only": visible}
    if size_name == "base":
        cfg: MvlmConfig = MvlmBaseConfig(**options)
    else:
        # Every depth a third of base's, as FLAVA's are.
        cfg = MvlmTinyConfig(image_encoder="vit_tiny_patch8", fusion_layers=1, decoder_layers=1, **options)
    dictionary = dictionary_of(vocabulary or VOCABULARY[size_name])
    model = MvlmModel(cfg, dictionary).to(device)
    criterion = JointMaskedVLCriterion(JointMaskedVLCriterionConfig(), SimpleNamespace(target_dictionary=dictionary))
    sample = on_device(make_batch(cfg, dictionary, batch, tokens), device)
    return Subject(model, lambda: criterion(model, sample)[0] / batch, batch)


def mark_parts(model: MvlmModel) -> None:
    """Name the parts of our model in profiles; the innermost name counts."""

    def mark(owner: Any, method: str, name: str) -> None:
        inner = getattr(owner, method)

        @functools.wraps(inner)
        def marked(*args: Any, **kwargs: Any) -> Any:
            with record_function(f"part: {name}"):
                return inner(*args, **kwargs)

        setattr(owner, method, marked)

    mark(model.image_encoder, "forward", "image encoder")
    mark(model.text_encoder, "forward", "text encoder")
    mark(model.fusion.image_stream, "project", "fusion: contexts")
    mark(model.fusion.text_stream, "project", "fusion: contexts")
    mark(model, "predict_words", "fusion: MLM")
    mark(model.mlm_head, "forward", "MLM head")
    mark(model, "predict_pixels", "fusion: MIM")
    mark(model.image_decoder, "forward", "image decoder")
    mark(model, "match", "fusion: ITM")
