"""How far plain predictors get at rebuilding masked photos, without and with the caption.

Each predicts one colour for each masked patch; the loss is MIM's, on the pixels. The network sees the mean colours of
the visible patches, and in its second form the pooled features of the caption, too.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn
from tqdm import tqdm

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.evaluate.base import write_whole
from mvlm_plugin.evaluation.features import images_of_texts, read_images
from mvlm_plugin.losses.masked import mim_losses
from mvlm_plugin.masking.image import mask_blocks
from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.models.mvlm import MvlmModel

from .features import CaptionsOfImages, captions_of_readable, open_share, pooled_texts, untrained_model
from .statistics import mean_of

_WIDTH = 256
_BATCH = 64
_RATE = 1e-3
_DROPOUT = 0.2
_HELD_OUT_SEED = 64


class Photos(NamedTuple):
    """N photos: pixels (N, 3, S, S) uint8; texts: (C, D) float32 features of captions, every photo has one at least."""

    pixels: Tensor
    texts: Tensor
    captions: CaptionsOfImages


class Network(nn.Module):
    """Mean colours of visible patches, which patches are masked, and perhaps a caption -> a colour a patch."""

    def __init__(self, patches: int, text_width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4 * patches + text_width, _WIDTH), nn.GELU(), nn.Dropout(_DROPOUT),
            nn.Linear(_WIDTH, _WIDTH), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(_WIDTH, 3 * patches),
        )  # fmt: skip
        self.uses_text = text_width > 0

    def forward(self, colours: Tensor, mask: Tensor, texts: Tensor) -> Tensor:
        """(B, P, 3) colours, (B, P) bool mask, (B, D) captions -> (B, P, 3)."""
        visible = colours.masked_fill(mask[..., None], 0.0).flatten(1)
        inputs = [visible, mask.float()] + ([texts] if self.uses_text else [])
        return self.layers(torch.cat(inputs, dim=1)).view_as(colours)


def read_photos(model: MvlmModel, folder: str, split: str, dictionary: Dictionary, batch_size: int) -> Photos:
    """All of a split, captions encoded by the model's text encoder."""
    dataset, images, captions = open_share(folder, split, model, dictionary, 1.0, 1)
    with_caption = np.unique(images_of_texts(dataset)[captions])
    rows, pixels = read_images(dataset, tqdm(np.intersect1d(images, with_caption).tolist(), desc=split, unit="photo"))
    captions, photo_of_text = captions_of_readable(dataset, rows, captions)
    texts = pooled_texts(model, dataset, captions, batch_size)
    return Photos(torch.stack(pixels), texts, CaptionsOfImages.of(photo_of_text, len(rows)))


def draw_masks(model: MvlmModel, count: int, rng: np.random.Generator) -> Tensor:
    """(count, P) bool, masked as training masks."""
    cfg = model.cfg
    blocks = [mask_blocks(cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, rng) for _ in range(count)]
    return model.patch_mask(torch.from_numpy(np.stack(blocks)))


def _targets(model: MvlmModel, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, P, K) pixels of patches and (B, P, 3) their mean colours, in normalised units."""
    patches = model.pixel_targets(model.normalize(pixels))
    return patches, patches.unflatten(2, (3, -1)).mean(dim=3)


def _losses(colours: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
    """(B,) MIM loss where every patch is filled with one colour (B, P, 3)."""
    filled = colours[..., None].expand(-1, -1, -1, patches.size(2) // 3).flatten(2)
    return mim_losses(filled, patches, mask)


def train_network(model: MvlmModel, photos: Photos, uses_text: bool, seed: int, epochs: int) -> Network:
    """L1 on masked pixels; every photo once an epoch with one of its captions and a new mask; AdamW, cosine decay."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Network(model.grid**2, photos.texts.size(1) if uses_text else 0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.05)
    steps = epochs * -(-len(photos.pixels) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(epochs), desc="with captions" if uses_text else "without captions", unit="epoch"):
        captions = photos.captions.draw(torch.arange(len(photos.pixels)))
        for rows in torch.randperm(len(photos.pixels)).split(_BATCH):
            patches, colours = _targets(model, photos.pixels[rows])
            mask = draw_masks(model, len(rows), rng)
            loss = _losses(network(colours, mask, photos.texts[captions[rows]]), patches, mask).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def constant_colour(model: MvlmModel, photos: Photos) -> Tensor:
    """(3,) the median brightness of each channel over the patches of some photos."""
    colours = [_targets(model, pixels)[1].flatten(0, 1) for pixels in photos.pixels.split(_BATCH)]
    return torch.cat(colours).median(dim=0).values


@torch.no_grad()
def measure(model: MvlmModel, photos: Photos, constant: Tensor, networks: dict[str, Network]) -> dict[str, float]:
    """Mean MIM loss of every predictor on held-out photos, each with one mask and its first caption."""
    rng = np.random.default_rng(_HELD_OUT_SEED)
    first = photos.captions.order[photos.captions.starts]
    others = first.roll(-1)
    sums: dict[str, float] = {}
    for rows in torch.arange(len(photos.pixels)).split(_BATCH):
        patches, colours = _targets(model, photos.pixels[rows])
        mask = draw_masks(model, len(rows), rng)
        seen = (~mask)[..., None]
        own, other = photos.texts[first[rows]], photos.texts[others[rows]]
        predicted = {
            "one colour for all photos": constant.expand_as(colours),
            "mean colour of what is visible": ((colours * seen).sum(1) / seen.sum(1))[:, None].expand_as(colours),
            "network, visible colours": networks["without"](colours, mask, own),
            "network, visible colours and caption": networks["with"](colours, mask, own),
            "the same, with another photo's caption": networks["with"](colours, mask, other),
            "each patch's own mean colour": colours,
        }
        for name, values in predicted.items():
            sums[name] = sums.get(name, 0.0) + float(_losses(values, patches, mask).sum())
    return {name: value / len(photos.pixels) for name, value in sums.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.study.patch_colours",
        description="MIM losses of predictors that fill each masked patch with one colour, without and with captions.",
        epilog="example: python -m examples.study.patch_colours --data data-bin/flickr8k --out patch_colours.json",
    )
    parser.add_argument("--data", required=True, metavar="DATABIN", help="data-bin that mvlm-prep made")
    parser.add_argument("--subset", default="valid", metavar="SPLIT", help="held-out split (default: %(default)s)")
    parser.add_argument(
        "--arch", choices=sorted(ARCHITECTURES), default="mvlm_lite", help="its patches and text encoder"
    )
    parser.add_argument("--image-size", type=int, default=128, metavar="S", help="pixels (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="networks of each form (default: 3)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="passes over the photos (default: 20)")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON to write")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        model, dictionary = untrained_model(arguments.arch, arguments.image_size, arguments.data, 1)
        train, held_out = (
            read_photos(model, arguments.data, split, dictionary, _BATCH) for split in ("train", arguments.subset)
        )
        constant = constant_colour(model, train)
        found = []
        for seed in range(1, arguments.seeds + 1):
            forms = {"without": False, "with": True}
            networks = {name: train_network(model, train, form, seed, arguments.epochs) for name, form in forms.items()}
            found.append(measure(model, held_out, constant, networks))
        means = {name: mean_of([figures[name] for figures in found]) for name in found[0]}
        written = {"seeds": found, "mean": {name: mean.value for name, mean in means.items()}}
        write_whole(str(arguments.out), json.dumps(written, indent=1) + "\n")
    except (OSError, ValueError, ImportError, DataBinError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    for name, mean in means.items():
        print(f"{mean.text(4):20}{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
