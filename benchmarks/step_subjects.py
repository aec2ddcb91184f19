"""What benchmarks/step.py measures: models with their batches and losses, ready to step."""

import functools
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from torch import Tensor, nn
from torch.profiler import record_function

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion, JointMaskedVLCriterionConfig
from mvlm_plugin.data.collate import Sample, collate
from mvlm_plugin.masking.image import mask_blocks
from mvlm_plugin.masking.text import mask_text
from mvlm_plugin.models.architectures import MvlmBaseConfig, MvlmTinyConfig
from mvlm_plugin.models.config import MvlmConfig
from mvlm_plugin.models.mvlm import MvlmModel

# FLAVA's own recipe: at most 75 of 196 patches and 15 % of the words are masked, a tenth of the pairs do not match.
FLAVA_IMAGE_MASK, FLAVA_TEXT_MASK, FLAVA_UNMATCHED = 75 / 196, 0.15, 0.1
IGNORED = -100  # no label, for FLAVA


class Size(NamedTuple):
    """A setting that all subjects share."""

    image: int  # pixels a side
    patch: int
    width: int
    layers: int  # of each encoder
    heads: int
    batch: int
    tokens: int  # a caption, <s> and </s> counted


SIZES = {"base": Size(224, 16, 768, 12, 12, 8, 30), "tiny": Size(64, 8, 128, 4, 4, 64, 16)}
# Words at base size are what the models come with: RoBERTa's, and BERT's for FLAVA.
VOCABULARY = {"base": 50265, "tiny": 2048}
FLAVA_VOCABULARY = {"base": 30522, "tiny": 2048}


class Subject(NamedTuple):
    """Something that trains. ``loss`` runs the forward pass on a batch and gives the scalar to differentiate."""

    model: nn.Module
    loss: Callable[[], Tensor]
    batch: int


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


def on_device(value: Any, device: torch.device) -> Any:
    """A batch whose tensors are on a device."""
    if isinstance(value, dict):
        return {name: on_device(entry, device) for name, entry in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def plain_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(QK^T / sqrt(d))V written out."""
    scores = query @ key.transpose(-2, -1) * query.size(-1) ** -0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1) @ value


def ours(
    size_name: str,
    batch: int,
    tokens: int,
    vocabulary: int | None,
    device: torch.device,
    visible: bool = False,
    plain: bool = False,
) -> Subject:
    """Our step: all four losses through the criterion."""
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


def flava(size_name: str, batch: int, tokens: int, vocabulary: int | None, device: torch.device) -> Subject:
    """FLAVA's pre-training step: masked multimodal modeling of words and patches, matching, contrastive.

    The labels of the patches are given, so that the codebook that makes them costs nothing.
    """
    # transformers imports both where they are installed, and fails where they were built for another torch.
    for unused in ("torchaudio", "torchvision"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
    try:
        from transformers import FlavaConfig, FlavaForPreTraining
    except ImportError as error:
        sys.exit(f"FLAVA needs transformers: pip install 'mvlm-plugin[benchmark]', or --only without flava ({error})")
    size = SIZES[size_name]
    part = {
        "hidden_size": size.width,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
    }
    encoder = {**part, "num_hidden_layers": size.layers}
    words = vocabulary or FLAVA_VOCABULARY[size_name]
    cfg = FlavaConfig(
        image_config={**encoder, "image_size": size.image, "patch_size": size.patch},
        text_config={**encoder, "vocab_size": words},
        multimodal_config={**part, "num_hidden_layers": size.layers // 2},
        hidden_size=size.width,
        projection_dim=size.width,
        init_codebook=False,
    )
    model = FlavaForPreTraining(cfg).to(device)
    model.train()
    patches = (size.image // size.patch) ** 2
    caption = torch.randint(1000, words, (batch, tokens))
    labels = torch.full_like(caption, IGNORED)
    chosen = slice(1, 1 + max(1, round(FLAVA_TEXT_MASK * (tokens - 2))))
    labels[:, chosen] = caption[:, chosen]
    image_mask = torch.rand(batch, patches).argsort(dim=1) < round(FLAVA_IMAGE_MASK * patches)
    codes = torch.randint(cfg.image_config.vocab_size, (batch, patches))
    inputs = {
        "input_ids": caption,
        "input_ids_masked": caption.masked_fill(labels != IGNORED, 103),  # BERT's [MASK]
        "pixel_values": torch.randn(batch, 3, size.image, size.image),
        "attention_mask": torch.ones_like(caption),
        "bool_masked_pos": image_mask,
        "mlm_labels": labels,
        "itm_labels": (torch.arange(batch) >= max(1, round(FLAVA_UNMATCHED * batch))).long(),
    }
    inputs, codes = on_device(inputs, device), codes.to(device)
    # Its forward pass writes to the patches' labels.
    return Subject(model, lambda: model(**inputs, mim_labels=codes.clone()).loss, batch)


SUBJECTS: dict[str, Callable[..., Subject]] = {
    "ours": ours,
    "ours_visible": functools.partial(ours, visible=True),
    "ours_plain_attention": functools.partial(ours, plain=True),
    "flava": flava,
}


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
