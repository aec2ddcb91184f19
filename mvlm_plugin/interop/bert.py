"""BERT weights from transformers."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import KeyTable, fuse_key_value, rename

# What transformers calls the parts of BERT, and of RoBERTa, which is built like it.
HF_NAMES = (
    (r"embeddings\.word_embeddings\.weight", r"token_embedding.weight"),
    (r"embeddings\.position_embeddings\.weight", r"positions"),
    (r"embeddings\.token_type_embeddings\.weight", r"token_types"),
    (r"embeddings\.LayerNorm\.(weight|bias)", r"embedding_norm.\1"),
    (
        r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(weight|bias)",
        r"blocks.\1.self_attention.\2.\3",
    ),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.self_attention.output.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(weight|bias)", r"blocks.\1.self_norm.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"blocks.\1.feed_forward.0.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"blocks.\1.feed_forward.2.\2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(weight|bias)", r"blocks.\1.feed_forward_norm.\2"),
)

HF_BERT = KeyTable(
    source="a transformers BertModel",
    prefix=r"(?:bert\.)?",
    renamed=HF_NAMES,
    ignored=(
        r"embeddings\.(position_ids|token_type_ids)",
        r"pooler\.dense\.(weight|bias)",
        r"cls\.predictions\.(bias|transform\.(dense|LayerNorm)\.(weight|bias)|decoder\.(weight|bias))",
        r"cls\.seq_relationship\.(weight|bias)",
        r"(classifier|qa_outputs)\.(weight|bias)",
    ),
)


def from_hf_bert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a transformers BertModel as the state dict of our RobertaEncoder.

    BERT is the same post-norm transformer as RoBERTa, with positions counted from 0 at its first token. The embedding
    of token type 0, the only one that a single caption uses, is added to every position's. Rows of the token embedding
    stay in the source's order: ``interop.vocabulary`` puts them into the order of a dictionary. The norms' eps is no
    weight: BERT's is 1e-12.

    Args:
        state: state dict of a BertModel, or of a model with a head on it, whose head and pooler are left behind.

    Returns:
        State dict whose ``position_embedding`` holds all positions of the source: (1, max_tokens, width).

    Raises:
        ValueError: keys of another model, named in full, or no position embedding.
    """
    converted = fuse_key_value(rename(state, HF_BERT))
    if "positions" not in converted:
        raise ValueError("the weights hold no position embedding: not a whole BERT")
    positions = converted.pop("positions")
    if "token_types" in converted:
        positions = positions + converted.pop("token_types")[0]
    converted["position_embedding"] = positions[None]
    return converted
