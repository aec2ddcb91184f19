"""Weights that a model starts from before anything is loaded."""

from torch import nn


def initialise(module: nn.Module) -> None:
    """BERT's and ViT's initial weights: linear and embedding weights normal with deviation 0.02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
