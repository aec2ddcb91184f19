"""Vision Transformer weights from transformers (ViT, ViTMAE) and in timm's names (timm, DeiT, AugReg, MAE)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..modules.pixels import PixelRescaling
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
    # decoder: of a ViTMAE; its mask token has the decoder's width.
    ignored=(r"pooler\.dense\.(weight|bias)", r"classifier\.(weight|bias)", r"decoder\..+"),
)

TIMM_VIT = KeyTable(
    source="a timm VisionTransformer",
    prefix=r"",
    renamed=(
        (r"cls_token", r"cls_token"),
        (r"pos_embed", r"position_embedding"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embedding.projection.\1"),
        (r"blocks\.(\d+)\.norm1\.(weight|bias)", r"blocks.\1.self_norm.\2"),
        (r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", r"blocks.\1.self_attention.qkv.\2"),
        (r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"blocks.\1.self_attention.output.\2"),
        (r"blocks\.(\d+)\.norm2\.(weight|bias)", r"blocks.\1.feed_forward_norm.\2"),
        (r"blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"blocks.\1.feed_forward.0.\2"),
        (r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"blocks.\1.feed_forward.2.\2"),
        # fc_norm takes the place of norm in models that average their patches, such as a fine-tuned MAE.
        (r"(?:fc_)?norm\.(weight|bias)", r"norm.\1"),
    ),
    # MAE's decoder and mask token, which has the decoder's width; AugReg's layer before the classifier.
    ignored=(r"head\.(weight|bias)", r"pre_logits\.fc\.(weight|bias)", r"mask_token", r"decoder_.+"),
)


def from_hf_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a transformers ViTModel or ViTMAEModel as the state dict of our VisionTransformer.

    The norms' eps is no weight: transformers' default is 1e-12, and outputs are those of a VisionTransformer built
    with the same. The position embedding is left as it is, for the image size that the source was trained at.

    Args:
        state: state dict of a ViTModel, or of a model with a head or decoder on it, which is left behind.

    Returns:
        State dict; without ``mask_token`` where the source has none (ViTModel makes one only with
        ``use_mask_token=True``): load it with ``strict=False`` then, and the model keeps its own.

    Raises:
        ValueError: keys of another model, named in full.
    """
    return _complete(fuse_key_value(rename(state, HF_VIT)))


def from_timm_vit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in timm's names (timm, DeiT, AugReg, MAE) as the state dict of our VisionTransformer.

    Where the source averages its patches before its last norm, that norm becomes ours, which comes before any
    averaging. A position embedding without an entry for [CLS] gets a zero one, which is the same function.

    Args:
        state: state dict of a VisionTransformer; heads and MAE's decoder and mask token are left behind.

    Returns:
        State dict without ``mask_token``; the position embedding is for the source's image size.

    Raises:
        ValueError: keys of another model, named in full; a distilled DeiT, which has a second global token.
    """
    if "dist_token" in state:
        raise ValueError(
            "distilled DeiT has a second global token, for which there is no place here: take the same DeiT without "
            "'distilled' in its name"
        )
    converted = rename(state, TIMM_VIT)
    for name in [name for name in converted if ".qkv." in name]:
        query, key, value = converted.pop(name).chunk(3)
        converted[name.replace(".qkv.", ".query.")] = query
        converted[name.replace(".qkv.", ".key_value.")] = torch.cat([key, value])
    positions = converted.get("position_embedding")
    if positions is not None and positions.dim() == 3 and round(positions.size(1) ** 0.5) ** 2 == positions.size(1):
        converted["position_embedding"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
    return _complete(converted)


def fold_normalization(
    converted: Mapping[str, Tensor], mean: Sequence[float], deviation: Sequence[float]
) -> dict[str, Tensor]:
    """Make the patch projection of a ViT read images that are normalised as ours are. Exact: both maps are linear.

    Args:
        converted: state dict of our VisionTransformer.
        mean, deviation: of red, green and blue, that the source's images were normalised with, pixels from 0 to 1.
    """
    weight, bias = (f"patch_embedding.projection.{name}" for name in ("weight", "bias"))
    rescaling = PixelRescaling(mean, deviation)
    scale, offset = rescaling.scale.flatten(), rescaling.offset.flatten()
    by_channel = converted[weight].unflatten(1, (3, -1))
    folded = dict(converted)
    folded[weight] = (by_channel * scale[:, None]).flatten(1)
    folded[bias] = converted[bias] + by_channel.sum(2) @ offset
    return folded


def _complete(converted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The convolution of patches as a linear layer; where no attention has biases, zero ones."""
    projection = "patch_embedding.projection.weight"
    if projection in converted:
        # Convolution (width, 3, p, p) -> linear over (channel, row, column): (width, 3 * p * p)
        converted[projection] = converted[projection].flatten(1)
    if not any(name.endswith((".query.bias", ".key_value.bias")) for name in converted):
        for name in [name for name in converted if name.endswith((".query.weight", ".key_value.weight"))]:
            converted[name.replace(".weight", ".bias")] = converted[name].new_zeros(converted[name].size(0))
    return converted
