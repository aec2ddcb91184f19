"""What a model makes of the masked words and patches of a group of pairs, with the own partner and with another."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..evaluation.pretraining import other_partners
from ..models.mvlm import MvlmModel
from ..modules.patches import patchify, unpatchify

_CANDIDATES = 5


class Words(NamedTuple):
    """The likeliest words of each of M masked ones, the first of K the likeliest; on the CPU."""

    ids: Tensor  # (M, K) int64
    probabilities: Tensor  # (M, K) float32


class Predictions(NamedTuple):
    """Of B pairs; pixels (B, 3, H, W) uint8 with what was visible left as it is; all on the CPU."""

    own_pixels: Tensor
    other_pixels: Tensor
    own_words: Words
    other_words: Words


@torch.no_grad()
def predict(model: MvlmModel, sample: dict[str, Any]) -> Predictions:
    """Rebuild masked patches and words of a group, with the own partner and with another pair's.

    Args:
        model: in eval mode.
        sample: batch as collate() makes it, on the model's device.
    """
    inputs = sample["net_input"]
    pixels = model.normalize(inputs["images"])
    image_mask = model.patch_mask(inputs["block_mask"])
    padding_mask = inputs["tokens"].eq(model.padding_idx)
    features = model.encode_views(pixels, image_mask, inputs["tokens"], inputs["masked_tokens"])
    image, text = model.partners(features)
    partner, _ = other_partners(inputs["image_ids"])
    visible = patchify(pixels, model.image_encoder.patch_size)

    def rebuild(rows: Tensor) -> Tensor:
        predicted = model.predict_pixels(features.masked_image, text[rows], padding_mask[rows])
        rebuilt = model.rebuilt_patches(predicted.to(visible.dtype), pixels)
        merged = torch.where(image_mask[..., None], rebuilt, visible)
        return model.normalize.undo(unpatchify(merged, model.image_encoder.patch_size, model.grid)).cpu()

    def words(rows: Tensor) -> Words:
        context = model.fusion.text_stream.project(image[rows])
        logits = model.predict_words(features.masked_text, padding_mask, context, inputs["mlm_positions"])
        best = logits.float().softmax(dim=1).topk(min(_CANDIDATES, logits.size(1)), dim=1)
        return Words(best.indices.cpu(), best.values.cpu())

    own = torch.arange(len(partner), device=partner.device)
    return Predictions(rebuild(own), rebuild(partner), words(own), words(partner))
