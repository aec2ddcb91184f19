"""Classes of a text and its images: answers to a question, true or false, entailment or not."""

import torch
from torch import Tensor, nn


class PairClassifierHead(nn.Module):
    """Token 0 of both streams and contrastive vectors, of every image of a text -> logits of the classes.

    Of each image the product of both tokens, which image-text matching was trained on, both by themselves, and the
    product of the contrastive vectors, whose sum is the similarity that retrieval ranks by; then linear, GELU, norm,
    dropout, linear.

    Args:
        width: size of the tokens.
        embedding_width: size of the contrastive vectors.
        images: images a text.
        classes: number of classes.
        dropout: probability before the last layer.
    """

    def __init__(self, width: int, embedding_width: int, images: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = 2 * width
        self.layers = nn.Sequential(
            nn.Linear(images * (3 * width + embedding_width), hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        self.images = images

    def forward(self, image_tokens: Tensor, text_tokens: Tensor, image_vectors: Tensor, text_vectors: Tensor) -> Tensor:
        """Logits (B, classes) of texts whose K images stand one after the other.

        Args:
            image_tokens, text_tokens: (B * K, width) of unit variance.
            image_vectors, text_vectors: (B * K, embedding_width) of unit length.
        """
        # Entries of unit vectors have variance 1 / size.
        alignment = image_vectors * text_vectors * image_vectors.size(1)
        features = torch.cat([image_tokens * text_tokens, image_tokens, text_tokens, alignment], dim=1)
        return self.layers(features.view(-1, self.images * features.size(1)))
