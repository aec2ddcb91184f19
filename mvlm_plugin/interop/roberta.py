"""RoBERTa weights from transformers and from fairseq."""

import re
from collections.abc import Mapping

from torch import Tensor

from .bert import HF_NAMES
from .renaming import KeyTable, fuse_key_value, rename

# Both sources count positions from padding_idx + 1, and RoBERTa's padding id is 1: rows 0 and 1 are never used.
POSITION_OFFSET = 2

HF_ROBERTA = KeyTable(
    source="a transformers RobertaModel",
    prefix=r"(?:roberta\.)?",
    renamed=HF_NAMES,
    ignored=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"pooler\.dense\.(weight|bias)",
        r"lm_head\.(bias|(dense|layer_norm|decoder)\.(weight|bias))",
        r"classifier\.((dense|out_proj)\.)?(weight|bias)",
    ),
)

FAIRSEQ_ROBERTA = KeyTable(
    source="a fairseq RobertaModel",
    prefix=r"(?:encoder\.)?(?:sentence_encoder\.)?",
    renamed=(
        (r"embed_tokens\.weight", r"token_embedding.weight"),
        (r"embed_positions\.weight", r"positions"),
        (r"layernorm_embedding\.(weight|bias)", r"embedding_norm.\1"),
        (r"layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", r"blocks.\1.self_attention.query.\2"),
        (r"layers\.(\d+)\.self_attn\.k_proj\.(weight|bias)", r"blocks.\1.self_attention.key.\2"),
        (r"layers\.(\d+)\.self_attn\.v_proj\.(weight|bias)", r"blocks.\1.self_attention.value.\2"),
        (r"layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"blocks.\1.self_attention.output.\2"),
        (r"layers\.(\d+)\.self_attn_layer_norm\.(weight|bias)", r"blocks.\1.self_norm.\2"),
        (r"layers\.(\d+)\.fc1\.(weight|bias)", r"blocks.\1.feed_forward.0.\2"),
        (r"layers\.(\d+)\.fc2\.(weight|bias)", r"blocks.\1.feed_forward.2.\2"),
        (r"layers\.(\d+)\.final_layer_norm\.(weight|bias)", r"blocks.\1.feed_forward_norm.\2"),
    ),
    ignored=(
        r"version",
        r"lm_head\.(weight|bias|(dense|layer_norm)\.(weight|bias))",
        r"classification_heads\.[^.]+\.(dense|out_proj)\.(weight|bias)",
    ),
)


def from_hf_roberta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a transformers RobertaModel as the state dict of our RobertaEncoder.

    The embedding of token type 0, the only one that RoBERTa uses, is added to every position's. Token ids keep
    their meaning, so the encoder's dictionary must number its symbols as the source's tokenizer does.

    Args:
        state: state dict of a RobertaModel, or of a model with a head on it, whose head is left behind.

    Returns:
        State dict whose ``position_embedding`` holds all positions of the source, from <s> on: (1, max_tokens, width).

    Raises:
        ValueError: keys of another model, named in full.
    """
    converted = _place_positions(fuse_key_value(rename(state, HF_ROBERTA)))
    if "token_types" in converted:
        converted["position_embedding"] = converted["position_embedding"] + converted.pop("token_types")[0]
    return converted


def from_fairseq_roberta(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a fairseq RobertaModel as the state dict of our RobertaEncoder.

    Args:
        state: state dict of a RobertaModel as fairseq holds it in memory, or of its encoder; the head is left behind.
            Names of older releases need upgrade_fairseq_names() first.

    Returns:
        State dict whose ``position_embedding`` holds all positions of the source, from <s> on: (1, max_tokens, width).

    Raises:
        ValueError: keys of another model, named in full.
    """
    return _place_positions(fuse_key_value(rename(state, FAIRSEQ_ROBERTA)))


# Names of older releases -> today's. The encoder was called a decoder, and norms had other names.
OLD_FAIRSEQ_NAMES = (
    (r"^decoder\.", r"encoder."),
    (r"(^|\.)emb_layer_norm\.", r"\1layernorm_embedding."),
    (r"(^|\.)layers\.(\d+)\.layer_norms\.0\.", r"\1layers.\2.self_attn_layer_norm."),
    (r"(^|\.)layers\.(\d+)\.layer_norms\.1\.", r"\1layers.\2.final_layer_norm."),
)


def upgrade_fairseq_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old names of a fairseq RobertaModel as fairseq itself upgrades them; new names stay as they are.

    Old attention has one ``in_proj_weight`` (3 * width, width) of queries, keys and values in this order.

    Args:
        state: state dict of a file, or part of one.

    Returns:
        State dict with the names that from_fairseq_roberta() knows.
    """
    upgraded: dict[str, Tensor] = {}
    for key, tensor in state.items():
        for old, new in OLD_FAIRSEQ_NAMES:
            key = re.sub(old, new, key)
        match = re.fullmatch(r"(.*\.self_attn\.)in_proj_(weight|bias)", key)
        if match:
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                upgraded[f"{match[1]}{name}_proj.{match[2]}"] = part
        else:
            upgraded[key] = tensor
    return upgraded


def _place_positions(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """(offset + max_tokens, width) table of positions -> our (1, max_tokens, width) parameter."""
    if "positions" not in converted:
        raise ValueError("the weights hold no position embedding: not a whole RoBERTa")
    converted["position_embedding"] = converted.pop("positions")[POSITION_OFFSET:][None]
    return converted
