"""What validation measures of a pre-trained model on a fixed group of pairs: losses, accuracies, conditioning gains."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..losses.contrastive import contrastive_losses
from ..losses.masked import caption_sums, mim_losses, mlm_losses
from ..losses.matching import matching_losses, matching_rows
from ..losses.negatives import sample_hard_negatives
from ..models.mvlm import MvlmModel
from ..models.outputs import Features

_NEGATIVES_SEED = 64
COLUMNS = (
    "mlm_loss",  # of each pair: mean over its masked words, nats
    "mlm_correct",
    "mlm_masked",
    "mim_loss",  # mean over its masked pixels, in the units of pixel_targets()
    "itc_loss",  # against the group, mean of both directions
    "itm_loss",  # summed over the pair's own, negative text and negative image
    "itm_correct",
    "itm_pairs",
    "has_partner",  # 1 where another pair of the group has another image
    "mlm_gain",  # MLM loss with that pair's image minus with the own
    "mim_gain",  # MIM loss with that pair's text minus with the own
)


class GroupResult(NamedTuple):
    """figures: (B, len(COLUMNS)) float64, a row a pair; embeddings: (B, E) float32 unit vectors."""

    figures: Tensor
    image_embeddings: Tensor
    text_embeddings: Tensor


def other_partners(image_ids: Tensor) -> tuple[Tensor, Tensor]:
    """For each pair the next pair, cyclically, that has another image.

    Args:
        image_ids: (B,) int64.

    Returns:
        (B,) int64 rows and (B,) bool, False where all pairs share the image (the row is then the pair's own).
    """
    batch = image_ids.size(0)
    start = torch.arange(batch, device=image_ids.device)
    following = (start[:, None] + start[None, :]) % batch
    other = image_ids[following] != image_ids[:, None]
    first = other.int().argmax(dim=1)
    return following[start, first], other.any(dim=1)


@torch.no_grad()
def evaluate_group(model: MvlmModel, sample: dict[str, Any]) -> GroupResult:
    """Measure a batch whose pairs are one another's negatives and wrong partners.

    Args:
        model: in eval mode.
        sample: batch as collate() makes it.
    """
    inputs = sample["net_input"]
    tokens, image_ids = inputs["tokens"], inputs["image_ids"]
    pixels = model.normalize(inputs["images"])
    image_mask = model.patch_mask(inputs["block_mask"])
    padding_mask = tokens.eq(model.padding_idx)
    features = model.encode_views(pixels, image_mask, tokens, inputs["masked_tokens"])
    mlm_image, mim_text = model.partners(features)
    partner, has_partner = other_partners(image_ids)
    columns: dict[str, Tensor] = {"has_partner": has_partner}

    def mlm(images: Tensor) -> tuple[Tensor, Tensor]:
        context = model.fusion.text_stream.project(images)
        logits = model.predict_words(features.masked_text, padding_mask, context, inputs["mlm_positions"])
        losses = mlm_losses(logits, sample["mlm_targets"], inputs["mlm_positions"], *tokens.shape)
        correct = (logits.argmax(dim=1) == sample["mlm_targets"]).double()
        return losses, caption_sums(correct, inputs["mlm_positions"], *tokens.shape)

    def mim(texts: Tensor, padding: Tensor) -> Tensor:
        predicted = model.predict_pixels(features.masked_image, texts, padding)
        return mim_losses(predicted, model.pixel_targets(pixels), image_mask)

    columns["mlm_loss"], columns["mlm_correct"] = mlm(mlm_image)
    columns["mlm_masked"] = caption_sums(
        torch.ones_like(sample["mlm_targets"], dtype=torch.float64), inputs["mlm_positions"], *tokens.shape
    )
    columns["mlm_gain"] = mlm(mlm_image[partner])[0] - columns["mlm_loss"]
    columns["mim_loss"] = mim(mim_text, padding_mask)
    columns["mim_gain"] = mim(mim_text[partner], padding_mask[partner]) - columns["mim_loss"]
    embeddings = model.embed_image(features.image), model.embed_text(features.text)
    columns |= _alignment(model, features, padding_mask, image_ids, embeddings, int(sample["id"][0]))
    figures = torch.stack([columns[name].double() for name in COLUMNS], dim=1)
    return GroupResult(figures, *embeddings)


def _alignment(
    model: MvlmModel,
    features: Features,
    padding_mask: Tensor,
    image_ids: Tensor,
    embeddings: tuple[Tensor, Tensor],
    group: int,
) -> dict[str, Tensor]:
    """ITC and ITM columns; ITM negatives are drawn from a seed of the group, so that two runs draw alike."""
    temperature = model.contrastive.temperature
    generator = torch.Generator(device=image_ids.device).manual_seed(_NEGATIVES_SEED + group)
    negatives = sample_hard_negatives(*embeddings, temperature, image_ids, generator)
    image_rows, text_rows, labels, valid = matching_rows(negatives)
    logits = model.match(features.image, features.text, padding_mask, image_rows, text_rows)
    correct = (logits.argmax(dim=1) == labels) & valid
    # (3B,) own, negative text, negative image -> (3, B) -> (B,)
    return {
        "itc_loss": contrastive_losses(*embeddings, temperature, image_ids, all_ranks=False).loss,
        "itm_loss": matching_losses(logits, labels, valid).view(3, -1).sum(dim=0),
        "itm_correct": correct.view(3, -1).sum(dim=0),
        "itm_pairs": valid.view(3, -1).sum(dim=0),
    }
