"""``mvlm-reconstruct``: pictures of what a checkpoint rebuilds, with the right partner and with a wrong one."""

import argparse
import logging
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import FairseqDataset
from PIL import Image, ImageDraw
from torch import Tensor

import mvlm_plugin  # noqa: F401  (registers what the checkpoint names)

from .checkpoints import open_checkpoint
from .data.databin import DataBinError, shard_folders
from .data.tokenizers import CaptionTokenizer, load_tokenizer
from .evaluation.pretraining import other_partners
from .models.mvlm import MvlmModel
from .modules.patches import patchify, unpatchify
from .pictures import CELL, GAP, LINE, font, to_picture

_TEXT_WIDTH = 560
_TITLES = ("original", "masked", "rebuilt: own caption", "rebuilt: other caption")


class Row(NamedTuple):
    """One pair on the sheet: four pictures, and lines of text beside them."""

    pictures: list[Image.Image]
    lines: list[str]


class Predictions(NamedTuple):
    """What the model makes of a group: pixels (B, 3, H, W) uint8 and word ids (M,), by own and by other partner."""

    own_pixels: Tensor
    other_pixels: Tensor
    own_words: Tensor
    other_words: Tensor


@torch.no_grad()
def predict(model: MvlmModel, sample: dict[str, Any]) -> Predictions:
    """Rebuild masked patches and words of a group, with the own partner and with another pair's."""
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
        merged = torch.where(image_mask[..., None], predicted, visible)
        return model.normalize.undo(unpatchify(merged, model.image_encoder.patch_size, model.grid))

    def words(rows: Tensor) -> Tensor:
        context = model.fusion.text_stream.project(image[rows])
        return model.predict_words(features.masked_text, padding_mask, context, inputs["mlm_positions"]).argmax(dim=1)

    own = torch.arange(len(partner))
    return Predictions(rebuild(own), rebuild(partner), words(own), words(partner))


def _caption(tokenizer: CaptionTokenizer, tokens: list[int], shown: dict[int, str]) -> str:
    """The caption with the text of some positions replaced by what is shown in brackets there."""
    hidden = {tokenizer.dictionary.bos(), tokenizer.dictionary.eos(), tokenizer.dictionary.pad()}
    symbols = [
        f" [{shown[position]}]" if position in shown else tokenizer.dictionary[token]
        for position, token in enumerate(tokens)
        if token not in hidden
    ]
    return tokenizer.splitter.join(symbols)


def _hatched(images: Tensor) -> Tensor:
    """Images of the same shape, (B, 3, S, S) uint8, in a pattern that no picture is mistaken for."""
    diagonal = torch.arange(images.size(2))[:, None] + torch.arange(images.size(3))
    stripes = torch.where(diagonal % 8 < 2, 90, 150).to(torch.uint8)
    return stripes.expand_as(images)


def make_rows(model: MvlmModel, sample: dict[str, Any], tokenizer: CaptionTokenizer, count: int) -> list[Row]:
    """The first ``count`` pairs of a group as rows of the sheet."""
    inputs, predictions = sample["net_input"], predict(model, sample)
    length = inputs["tokens"].size(1)
    image_mask = model.patch_mask(inputs["block_mask"])
    hidden = patchify(_hatched(inputs["images"]), model.image_encoder.patch_size)
    visible = patchify(inputs["images"], model.image_encoder.patch_size)
    masked = unpatchify(torch.where(image_mask[..., None], hidden, visible), model.image_encoder.patch_size, model.grid)
    rows = []
    for row in range(min(count, len(inputs["tokens"]))):
        tokens = inputs["tokens"][row].tolist()
        here = (inputs["mlm_positions"] // length == row).nonzero().flatten().tolist()
        columns = [int(inputs["mlm_positions"][k]) % length for k in here]
        texts = {
            "masked": dict.fromkeys(columns, "____"),
            "own image": _decode(tokenizer, columns, predictions.own_words[here].tolist()),
            "other image": _decode(tokenizer, columns, predictions.other_words[here].tolist()),
        }
        lines = [f"caption: {_caption(tokenizer, tokens, {})}"]
        lines += [f"{name}: {_caption(tokenizer, tokens, shown)}" for name, shown in texts.items()]
        pictures = (inputs["images"], masked, predictions.own_pixels, predictions.other_pixels)
        rows.append(Row([to_picture(picture[row]) for picture in pictures], lines))
    return rows


def _decode(tokenizer: CaptionTokenizer, columns: list[int], words: list[int]) -> dict[int, str]:
    return {column: tokenizer.decode([word]) for column, word in zip(columns, words, strict=True)}


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


def _fixed_group(dataset: FairseqDataset, count: int) -> dict[str, Any]:
    """The first pairs of the data set's fixed order, at least two so that there is another partner."""
    order = dataset.ordered_indices()[: max(2, count)]
    return dataset.collater([dataset[int(index)] for index in order])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvlm-reconstruct",
        description="Write a sheet of pictures: original, masked, rebuilt with the own caption, rebuilt with another "
        "pair's caption; beside them the masked words and those predicted with the own and with another image.",
        epilog="example: mvlm-reconstruct --path checkpoints/checkpoint_last.pt --data data-bin/scenes "
        "--subset test --out reconstructions.png",
    )
    parser.add_argument("--path", required=True, help="checkpoint that fairseq-train wrote")
    parser.add_argument("--data", required=True, help="data-bin to take pairs from")
    parser.add_argument("--subset", default="test", help="split of the data-bin (default: %(default)s)")
    parser.add_argument("--out", default="reconstructions.png", help="PNG to write (default: %(default)s)")
    parser.add_argument("--count", type=int, default=6, help="number of pairs, one a row (default: %(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of mvlm-reconstruct. Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    if args.count < 1:
        print("mvlm-reconstruct: error: --count must be at least 1", file=sys.stderr)
        return 2
    try:
        model, task = open_checkpoint(args.path, args.data)
        task.load_dataset(args.subset)
        tokenizer = load_tokenizer(shard_folders(Path(args.data))[0])
    except (OSError, ValueError, DataBinError) as error:
        print(f"mvlm-reconstruct: error: {error}", file=sys.stderr)
        return 2
    tokenizer.dictionary = task.source_dictionary
    sheet = draw_sheet(make_rows(model, _fixed_group(task.dataset(args.subset), args.count), tokenizer, args.count))
    partial = Path(f"{args.out}.partial.png")
    sheet.save(partial)
    partial.replace(args.out)
    print(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
