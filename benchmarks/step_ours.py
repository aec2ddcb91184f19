"""Our training step for benchmarks/step.py, and the names of its parts in profiles."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from step_setting import Subject, on_device
from torch import Tensor
from torch.profiler import record_function

from mvlm_plugin.allocator import keep_freed_memory
from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from mvlm_plugin.models.architectures import MvlmBaseConfig, MvlmTinyConfig
from mvlm_plugin.models.config import MvlmConfig
from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.planning.step import StepOptions

VOCABULARY = {"base": 50265, "tiny": 2048}


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
    step = StepOptions(cfg, JointMaskedVLCriterionConfig(), vocabulary or VOCABULARY[size_name], tokens)
    model, criterion = step.build(str(device))
    sample = step.batch(batch)
    sample["net_input"]["images"] = torch.randint(0, 256, sample["net_input"]["images"].shape, dtype=torch.uint8)
    sample = on_device(sample, device)
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
