"""Masked-token prediction."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MlmHead(nn.Module):
    """Masked-token prediction: linear, GELU, norm, projection tied to the token embedding, bias.

    Args:
        width: size of the features.
        token_embedding: the embedding that the projection is tied to; its own size may differ from width.
    """

    def __init__(self, width: int, token_embedding: nn.Embedding) -> None:
        super().__init__()
        self.dense = nn.Linear(width, token_embedding.embedding_dim)
        self.norm = nn.LayerNorm(token_embedding.embedding_dim, eps=1e-5)
        self.bias = nn.Parameter(torch.zeros(token_embedding.num_embeddings))

    def forward(self, x: Tensor, embedding_weight: Tensor) -> Tensor:
        """Features (M, width) and the tied weight (V, E) -> logits (M, V)."""
        return F.linear(self.norm(F.gelu(self.dense(x))), embedding_weight, self.bias)
