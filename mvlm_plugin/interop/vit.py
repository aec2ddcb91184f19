"""Vision Transformer weights from transformers."""

from collections.abc import Mapping

from torch import Tensor

from .renaming import KeyTable, fuse_key_value, rename

# Block names of released checkpoints and of transformers < 5, then those of transformers >= 5 in memory.
HF_VIT = KeyTable(
    source="a transformers ViTModel",
    prefix=r"(?:vit\.)?",
    renamed=(
        (r"embeddings\.cls_token", r"cls_token"),
        (r"embeddings\.mask_token", r"mask_token"),
        (r"embeddings\.position_embeddings", r"position_embedding"),
        (r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embedding.projection.\1"),
        (r"layernorm\.(weight|bias)", r"norm.\1"),
        (
            r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)",
            r"blocks.\1.self_attention.\2.\3",
        ),
        (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.self_attention.output.\2"),
        (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"blocks.\1.feed_forward.0.\2"),
        (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"blocks.\1.feed_forward.2.\2"),
        (r"(?:encoder\.layer|layers)\.(\d+)\.layernorm_before\.(weight|bias)", r"blocks.\1.self_norm.\2"),
        (r"(?:encoder\.layer|layers)\.(\d+)\.layernorm_after\.(weight|bias)", r"blocks.\1.feed_forward_norm.\2"),
        (r"layers\.(\d+)\.attention\.q_proj\.(weight|bias)", r"blocks.\1.self_attention.query.\2"),
        (r"layers\.(\d+)\.attention\.k_proj\.(weight|bias)", r"blocks.\1.self_attention.key.\2"),
        (r"layers\.(\d+)\.attention\.v_proj\.(weight|bias)", r"blocks.\1.self_attention.value.\2"),
        (r"layers\.(\d+)\.attention\.o_proj\.(weight|bias)", r"blocks.\1.self_attention.output.\2"),
        (r"layers\.(\d+)\.mlp\.fc1\.(weight|bias)", r"blocks.\1.feed_forward.0.\2"),
        (r"layers\.(\d+)\.mlp\.fc2\.(weight|bias)", r"blocks.\1.feed_forward.2.\2"),
    ),
    ignored=(r"pooler\.dense\.(weight|bias)", r"classifier\.(weight|bias)"),
)


def from_hf_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a transformers ViTModel as the state dict of our VisionTransformer.

    The norms' eps is no weight: transformers' default is 1e-12, and VisionTransformer must be built with the same.
    The position embedding is left as it is, for the image size that the source was trained at.

    Args:
        state: state dict of a ViTModel, or of a model with a head on it, whose head is left behind.

    Returns:
        State dict; without ``mask_token`` where the source has none (ViTModel makes one only with
        ``use_mask_token=True``): load it with ``strict=False`` then, and the model keeps its own.

    Raises:
        ValueError: keys of another model, named in full.
    """
    converted = fuse_key_value(rename(state, HF_VIT))
    projection = "patch_embedding.projection.weight"
    if projection in converted:
        # Convolution (width, 3, p, p) -> linear over (channel, row, column): (width, 3 * p * p)
        converted[projection] = converted[projection].flatten(1)
    return converted
