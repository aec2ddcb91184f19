"""A sheet with a row a pair: original, masked, rebuilt with the own caption and with another, and the words."""

import textwrap
from typing import Any, NamedTuple

import torch
from fairseq.data import FairseqDataset, data_utils
from PIL import Image, ImageDraw
from torch import Tensor

from ..data.tokenizers import CaptionTokenizer
from ..models.mvlm import MvlmModel
from ..modules.patches import patchify, unpatchify
from ..pictures import CELL, GAP, LINE, font, to_picture
from .captions import caption_lines, masked_words
from .predictions import Predictions

_TEXT_WIDTH = 560
_TITLES = ("original", "masked", "rebuilt: own caption", "rebuilt: other caption")
_ORDER_SEED = 1


class Row(NamedTuple):
    """One pair on the sheet: four pictures, and lines of text beside them."""

    pictures: list[Image.Image]
    lines: list[str]


def first_pairs(dataset: FairseqDataset, count: int) -> list[Any]:
    """The first samples of a data set, at least two so that there is another partner; the same ones at every call."""
    with data_utils.numpy_seed(_ORDER_SEED):  # a training split draws its order
        order = dataset.ordered_indices()[: max(2, count)]
    return [dataset[int(index)] for index in order]


def _hatched(images: Tensor) -> Tensor:
    """Images of the same shape, (B, 3, S, S) uint8, in a pattern that no picture is mistaken for."""
    diagonal = torch.arange(images.size(2))[:, None] + torch.arange(images.size(3))
    stripes = torch.where(diagonal % 8 < 2, 90, 150).to(torch.uint8)
    return stripes.expand_as(images)


def make_rows(
    model: MvlmModel, sample: dict[str, Any], predictions: Predictions, tokenizer: CaptionTokenizer, count: int
) -> list[Row]:
    """The first ``count`` pairs of a batch, on the CPU, as rows of the sheet."""
    inputs = sample["net_input"]
    image_mask = model.patch_mask(inputs["block_mask"])
    hidden = patchify(_hatched(inputs["images"]), model.image_encoder.patch_size)
    visible = patchify(inputs["images"], model.image_encoder.patch_size)
    masked = unpatchify(torch.where(image_mask[..., None], hidden, visible), model.image_encoder.patch_size, model.grid)
    pictures = (inputs["images"], masked, predictions.own_pixels, predictions.other_pixels)
    return [
        Row(
            [to_picture(picture[row]) for picture in pictures],
            caption_lines(tokenizer, masked_words(sample, row), predictions),
        )
        for row in range(min(count, len(inputs["tokens"])))
    ]


def draw_sheet(rows: list[Row]) -> Image.Image:
    """All rows on one sheet, with titles above the columns."""
    width = len(_TITLES) * (CELL + GAP) + GAP + _TEXT_WIDTH
    sheet = Image.new("RGB", (width, LINE + 2 * GAP + len(rows) * (CELL + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate((*_TITLES, "words: [masked]")):
        draw.text((GAP + column * (CELL + GAP), GAP), title, fill="black", font=font())
    for index, row in enumerate(rows):
        top = LINE + 2 * GAP + index * (CELL + GAP)
        for column, picture in enumerate(row.pictures):
            sheet.paste(picture, (GAP + column * (CELL + GAP), top))
        left = GAP + len(_TITLES) * (CELL + GAP)
        wrapped = [part for line in row.lines for part in textwrap.wrap(line, 76, subsequent_indent="    ")]
        for number, line in enumerate(wrapped[: CELL // LINE]):
            draw.text((left, top + number * LINE), line, fill="black", font=font())
    return sheet
