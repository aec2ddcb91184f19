"""Unimodal encoders by name.

An image encoder is a module with attributes ``width`` (token size) and ``patch_size`` (pixels a token's side), and
``forward(images (B, 3, H, W), image_mask (K * B, P) bool or None) -> (K * B, P + 1, width)``, token 0 a global one.
A text encoder has ``width``, ``token_embedding`` (an nn.Embedding, which the MLM head is tied to) and
``forward(tokens (B, L), padding_mask (B, L)) -> (B, L, width)``, token 0 a global one.
"""

from . import conv_vit, efficientnet_lite, minilm, roberta, timm, vit  # noqa: F401
