"""What benchmarks/step.py measures: models with their batches and losses, ready to step."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from step_setting import SIZES, Subject, on_device

# FLAVA's own recipe: at most 75 of 196 patches and 15 % of the words are masked, a tenth of the pairs do not match.
FLAVA_IMAGE_MASK, FLAVA_TEXT_MASK, FLAVA_UNMATCHED = 75 / 196, 0.15, 0.1
IGNORED = -100  # no label, for FLAVA


# Words at base size are what the models come with: RoBERTa's, and BERT's for FLAVA.
FLAVA_VOCABULARY = {"base": 30522, "tiny": 2048}


def flava(
    size_name: str, batch: int, tokens: int, vocabulary: int | None, device: torch.device, keep: bool = False
) -> Subject:
    """FLAVA's pre-training step: masked multimodal modeling of words and patches, matching, contrastive.

    The labels of the patches are given, so that the codebook that makes them costs nothing. With ``keep``, freed
    memory is kept for the next step, as our training does on a CPU.
    """
    if keep:
        os.environ["MVLM_PLUGIN_REGISTER"] = "0"  # the allocator alone, without fairseq
        from mvlm_plugin.allocator import keep_freed_memory

        keep_freed_memory()
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


def ours(*args: Any, **options: Any) -> Subject:
    """Our step; imported here, so that FLAVA's process does not hold fairseq."""
    from step_ours import build_ours

    return build_ours(*args, **options)


SUBJECTS: dict[str, Callable[..., Subject]] = {
    "ours": ours,
    "ours_visible": functools.partial(ours, visible=True),
    "ours_plain_attention": functools.partial(ours, plain=True),
    "flava": flava,
    "flava_kept_memory": functools.partial(flava, keep=True),
}
