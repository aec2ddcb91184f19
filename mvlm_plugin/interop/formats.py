"""The formats of pre-trained weights, told apart by the names of their tensors and never by the name of a file."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from .bert import HF_BERT, from_hf_bert
from .reading import WeightsError
from .renaming import KeyTable
from .roberta import FAIRSEQ_ROBERTA, HF_ROBERTA, from_fairseq_roberta, from_hf_roberta
from .vit import HF_VIT, TIMM_VIT, from_hf_vit, from_timm_vit

FIRST_KEYS = 8


class WeightFormat(NamedTuple):
    """One format that can be loaded.

    name: for messages and for the record in the checkpoint.
    mark: regular expression that some tensor's name matches.
    table: which names are known, and which belong to a head and are left behind.
    convert: state dict with known names -> state dict of our encoder.
    eps: of the source's norms, unless a configuration beside the weights says otherwise.
    mlm_head: (regular expression, name in our MlmHead) pairs.
    """

    name: str
    mark: str
    table: KeyTable
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    eps: float
    mlm_head: tuple[tuple[str, str], ...] = ()


def _mlm_head(prefix: str, dense: str, norm: str) -> tuple[tuple[str, str], ...]:
    """WeightFormat.mlm_head of a source, from regular expressions of its names."""
    return (
        (rf"{prefix}{dense}\.(weight|bias)", r"dense.\1"),
        (rf"{prefix}{norm}\.(weight|bias)", r"norm.\1"),
        (rf"{prefix}bias", r"bias"),
    )


TIMM = WeightFormat("timm ViT", r"blocks\.\d+\.attn\.qkv\.weight", TIMM_VIT, from_timm_vit, 1e-6)
MAE = WeightFormat("MAE", r"decoder_embed\.weight", TIMM_VIT, from_timm_vit, 1e-6)
HUGGING_FACE_VIT = WeightFormat(
    "Hugging Face ViT", r"(vit\.)?embeddings\.patch_embeddings\.projection\.weight", HF_VIT, from_hf_vit, 1e-12
)
FAIRSEQ = WeightFormat(
    "fairseq RoBERTa",
    r"(encoder\.)?(sentence_encoder\.)?embed_tokens\.weight",
    FAIRSEQ_ROBERTA,
    from_fairseq_roberta,
    1e-5,
    _mlm_head(r"(?:encoder\.)?lm_head\.", "dense", "layer_norm"),
)
HUGGING_FACE_BERT = WeightFormat(
    "Hugging Face BERT",
    r"(bert\.)?embeddings\.word_embeddings\.weight",
    HF_BERT,
    from_hf_bert,
    1e-12,
    _mlm_head(r"cls\.predictions\.", r"transform\.dense", r"transform\.LayerNorm"),
)
HUGGING_FACE_ROBERTA = WeightFormat(
    "Hugging Face RoBERTa",
    r"(roberta\.)?embeddings\.word_embeddings\.weight",
    HF_ROBERTA,
    from_hf_roberta,
    1e-5,
    _mlm_head(r"lm_head\.", "dense", "layer_norm"),
)
IMAGE_FORMATS = (MAE, TIMM, HUGGING_FACE_VIT)
TEXT_FORMATS = (FAIRSEQ, HUGGING_FACE_ROBERTA, HUGGING_FACE_BERT)


def recognise(tensors: Mapping[str, Tensor], formats: tuple[WeightFormat, ...]) -> WeightFormat:
    """The format whose mark is among the names; for BERT and RoBERTa without a prefix the token types decide.

    Raises:
        WeightsError: none of them; the message lists the formats and the first names.
    """
    if any(name.startswith(("image_encoder.", "text_encoder.")) for name in tensors):
        raise WeightsError("this is a checkpoint of this plugin: load it with --finetune-from-model or --restore-file")
    marked = [known for known in formats if any(re.fullmatch(known.mark, name) for name in tensors)]
    if HUGGING_FACE_ROBERTA in marked and HUGGING_FACE_BERT in marked:
        # RoBERTa has one token type, which it does not use; BERT has two, for a text and for the next one.
        types = tensors.get("embeddings.token_type_embeddings.weight")
        return HUGGING_FACE_BERT if types is not None and types.size(0) > 1 else HUGGING_FACE_ROBERTA
    if not marked:
        raise WeightsError(
            f"unknown format of weights; supported: {', '.join(known.name for known in formats)}; "
            f"the first names are {', '.join(list(tensors)[:FIRST_KEYS])}"
        )
    return marked[0]


def mlm_head(tensors: Mapping[str, Tensor], source: WeightFormat) -> dict[str, Tensor]:
    """What a source's head for masked words holds, by the names of our MlmHead; empty where it has none."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in source.mlm_head:
            match = re.fullmatch(pattern, name)
            if match:
                found[match.expand(replacement)] = tensor
    return found
