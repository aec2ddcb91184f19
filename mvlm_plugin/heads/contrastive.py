"""Image and caption vectors of one space, for the contrastive loss and for retrieval."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import full_precision


class ContrastiveHead(nn.Module):
    """One linear layer a modality, L2 normalisation, and the learned temperature.

    Args:
        image_width: size of the image encoder's [CLS].
        text_width: size of the text encoder's <s>.
        embedding_width: size of the common space.
    """

    INITIAL_TEMPERATURE = 0.07
    TEMPERATURE_RANGE = (0.001, 0.5)

    def __init__(self, image_width: int, text_width: int, embedding_width: int) -> None:
        super().__init__()
        self.image_projection = nn.Linear(image_width, embedding_width)
        self.text_projection = nn.Linear(text_width, embedding_width)
        self.log_temperature = nn.Parameter(torch.tensor(self.INITIAL_TEMPERATURE).log())

    def clamp_temperature(self) -> None:
        """Bring the learned value back into its range after an optimizer's step: outside of it there is no gradient."""
        with torch.no_grad():
            self.log_temperature.clamp_(*self._log_range())

    @property
    def temperature(self) -> Tensor:
        """Scalar that similarities are divided by, always within its range; learned as its logarithm, so that steps are
        relative.
        """
        return self.log_temperature.float().clamp(*self._log_range()).exp()

    def _log_range(self) -> tuple[float, float]:
        low, high = self.TEMPERATURE_RANGE
        return math.log(low), math.log(high)

    def image(self, cls: Tensor) -> Tensor:
        """(B, image_width) -> unit vectors (B, embedding_width) in float32."""
        return _unit_vectors(self.image_projection, cls)

    def text(self, start: Tensor) -> Tensor:
        """(B, text_width) -> unit vectors (B, embedding_width) in float32."""
        return _unit_vectors(self.text_projection, start)


def _unit_vectors(projection: nn.Linear, x: Tensor) -> Tensor:
    with full_precision(x.device):
        return F.normalize(projection(x.to(projection.weight.dtype)).float(), dim=-1)
