"""How strongly each loss pulls at the encoders that all losses share."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ..models.mvlm import MvlmModel

ENCODERS = ("image_encoder", "text_encoder")


def gradient_norms(
    model: MvlmModel, criterion: Any, sample: dict[str, Any], autocast: AbstractContextManager[Any]
) -> dict[str, Tensor]:
    """The norm of the gradient of each weighted loss, a mean over pairs, by the trained parameters of each encoder.

    One forward pass, and a backward pass a loss. No parameter's ``.grad`` is read or written, and no process is asked
    for anything.

    Args:
        model: not a wrapper around it.
        criterion: JointMaskedVLCriterion or a subclass.
        sample: batch as collate() makes it, on the model's device.
        autocast: that training computes under.

    Returns:
        Scalars named ``encoder/loss``, such as ``image_encoder/mim``; none of an encoder that is frozen as a whole. The
        text encoder's word embeddings count among its parameters, which the head for masked words uses, too.
    """
    trained = {name: [p for p in getattr(model, name).parameters() if p.requires_grad] for name in ENCODERS}
    trained = {name: parameters for name, parameters in trained.items() if parameters}
    with torch.enable_grad(), autocast:
        output = model(**sample["net_input"], objectives=criterion.objectives)
        losses = criterion.losses(output, sample, {})
    norms = {}
    for objective, loss in losses.items():
        weighted = criterion.weights[objective] * loss / sample["nsentences"]
        wanted = [parameter for parameters in trained.values() for parameter in parameters]
        found = iter(torch.autograd.grad(weighted, wanted, retain_graph=True, allow_unused=True) if wanted else ())
        for encoder, parameters in trained.items():
            gradients = [gradient for _, gradient in zip(parameters, found, strict=False) if gradient is not None]
            norms[f"{encoder}/{objective}"] = get_total_norm(gradients)
    return norms
