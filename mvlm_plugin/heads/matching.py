"""Image-text matching."""

from torch import Tensor, nn


class MatchingHead(nn.Module):
    """Matched or not: product of both streams' token 0, then a linear layer to 2 classes (1 = matched)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, 2)

    def initialise(self) -> None:
        """Logits of unit size at the start: with smaller ones, ITM hardly moves the streams and stays at "never"."""
        nn.init.normal_(self.classifier.weight, std=self.classifier.in_features**-0.5)

    def forward(self, image_token: Tensor, text_token: Tensor) -> Tensor:
        """Two (M, width) -> logits (M, 2)."""
        return self.classifier(image_token * text_token)
