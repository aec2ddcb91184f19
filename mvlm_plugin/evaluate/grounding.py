"""``mvlm-eval grounding``: pictures of where a model looks for each word, on generated scenes with a score."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints import open_checkpoint
from ..data.databin import shard_folders
from ..data.dataset import JointMaskedDataset, split_into_groups
from ..data.tokenizers import CaptionTokenizer, load_tokenizer
from ..data.transforms import default_eval_transform
from ..evaluation.features import images_of_texts, read_images
from ..evaluation.grounding import PREDICTION, SOURCES, WordMap, caption_maps, last_layer
from ..evaluation.pointing import Judgement, find_mentions, judge, pointing_figures
from ..evaluation.scenes import SceneFacts, read_scenes, scenes_path
from ..models.mvlm import MvlmModel
from ..pictures import Cell, draw_cells, heat_map, to_picture
from .base import EvalCommand, Report, add_data_options
from .protocol import protocol_of

_COLUMNS = 7  # cells a row of a sheet
_CELL = 128  # pixels a cell's side
_HIT = "the centre of the map's largest patch lies in the box of an object that the word is true of"


class GroundedPair(NamedTuple):
    """A caption of a split with its picture: pixels (3, S, S) uint8, its words' maps, and those on another picture."""

    caption: int
    image: int
    pixels: Tensor
    own: list[WordMap]
    elsewhere: list[WordMap]


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_data_options(parser)
    parser.add_argument("--out", metavar="FOLDER", help="also write a sheet of heat maps (PNG) a pair into this folder")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="so many sheets (default: %(default)s)")
    parser.add_argument(
        "--by",
        choices=SOURCES,
        default=PREDICTION,
        help="what a word's map speaks for: prediction of the word itself, masked, given the rest of the caption; or "
        'matching, "matched" for the whole caption, as ALBEF has it (default: %(default)s)',
    )
    parser.add_argument(
        "--layer",
        type=int,
        metavar="K",
        help="block of the text stream whose attention is taken, from 0 (default: the last one whose words reach the "
        "prediction or matching)",
    )


def _run(arguments: argparse.Namespace) -> Report:
    if arguments.count < 1:
        raise ValueError("--count must be at least 1")
    model, task = open_checkpoint(arguments.path, arguments.data)
    if not isinstance(model, MvlmModel):
        raise ValueError(
            f"{arguments.path} was trained for the task {task.cfg._name}, which does not match images with captions; "
            "give a checkpoint of joint_masked_vl or vl_retrieval"
        )
    task.load_dataset(arguments.subset)
    model.to(arguments.device)
    dataset = task.dataset(arguments.subset)
    tokenizer = load_tokenizer(shard_folders(Path(arguments.data))[0])
    tokenizer.dictionary = task.source_dictionary
    layer = last_layer(model, arguments.by) if arguments.layer is None else arguments.layer
    mapper = partial(caption_maps, model, tokenizer, source=arguments.by, layer=layer)
    scenes = _scenes_of(dataset)
    if scenes is None and not arguments.out:
        raise ValueError(
            f"split {dataset.store.name} of {arguments.data} has no boxes to point at (mvlm-prep scenes writes them): "
            "give --out FOLDER for pictures"
        )
    wanted = len(dataset) if scenes else min(arguments.count, len(dataset))
    pairs = ground(mapper, dataset, range(wanted), arguments.batch_size, arguments.device)
    judgements: list[Judgement] = []
    captions = sheets = 0
    for pair in pairs:
        captions += 1
        if scenes:
            judgements += _judge(pair, scenes[pair.image], dataset)
        if arguments.out and sheets < arguments.count:
            _write_sheet(pair, dataset, tokenizer, Path(arguments.out))
            sheets += 1
    entries: dict[str, Any] = {"subset": dataset.store.name, "captions": captions, "bad_images": wanted - captions}
    entries |= {"maps": f"Grad-CAM for {arguments.by}, text block {layer}, patches {model.grid} x {model.grid}"}
    figures = {"pointing": pointing_figures(judgements)} if scenes else {}
    text = _text(figures["pointing"]) if scenes else ""
    if arguments.out:
        entries |= {"sheets": sheets}
        text += f"\nwrote {sheets} sheets to {arguments.out}"
    entries |= {"hit": _HIT} if scenes else {}
    return Report(protocol_of(arguments.path, task, model, **entries), figures, text)


def _scenes_of(dataset: JointMaskedDataset) -> list[SceneFacts] | None:
    """The scenes of a split of generated pictures; None for other pictures.

    Raises:
        DataBinError: the scenes file is damaged.
        ValueError: boxes do not hold for what the image pipeline shows.
    """
    store = dataset.store
    if not scenes_path(store.folder, store.name).exists():
        return None
    if dataset.options.eval_transform != default_eval_transform():
        raise ValueError(
            f"the checkpoint's --eval-transform {dataset.options.eval_transform!r} may move pictures, and boxes of "
            f"scenes hold for {default_eval_transform()!r} only"
        )
    return read_scenes(store.folder, store.name, len(store.images))


def ground(
    mapper: Callable[[Tensor, Tensor], list[list[WordMap]]],
    dataset: JointMaskedDataset,
    captions: range,
    batch_size: int,
    device: torch.device | str,
) -> Iterator[GroundedPair]:
    """Maps of the words of a split's captions, in order, each on its own picture and on the next pair's.

    mapper takes pixels (B, 3, S, S) and tokens (B, L), see caption_maps(). Pairs whose picture cannot be read are
    reported and left out.
    """
    images = images_of_texts(dataset).numpy()
    groups = split_into_groups(np.arange(len(captions)), max(2, batch_size))
    for group in tqdm(groups, desc="word maps", unit="batch"):
        readable, pixels = read_images(dataset, images[group].tolist())
        kept = group[np.isin(images[group], readable)]
        if not len(kept):
            continue
        stacked, tokens = torch.stack(pixels).to(device), dataset.tokens(kept).to(device)
        own, elsewhere = mapper(stacked, tokens), mapper(stacked.roll(-1, dims=0), tokens)
        for row, caption in enumerate(kept.tolist()):
            yield GroundedPair(caption, int(images[caption]), pixels[row], own[row], elsewhere[row])


def _judge(pair: GroundedPair, scene: SceneFacts, dataset: JointMaskedDataset) -> list[Judgement]:
    side = dataset.store.images.record(pair.image).width
    return [
        judge(mention, pair.own[mention.place].values, pair.elsewhere[mention.place].values, pair.image, side)
        for mention in find_mentions([word for word, _ in pair.own], scene)
    ]


def _write_sheet(pair: GroundedPair, dataset: JointMaskedDataset, tokenizer: CaptionTokenizer, folder: Path) -> None:
    """FOLDER/000012.png for caption 12: the picture, then a heat map for each word."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = to_picture(pair.pixels, _CELL)
    cells = [Cell("", picture)] + [Cell(word, heat_map(picture, values)) for word, values in pair.own]
    path = folder / f"{pair.caption:06d}.png"
    partial = path.with_suffix(".partial")
    draw_cells(cells, _COLUMNS).save(partial, format="PNG")
    partial.replace(path)


def _text(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Per cent, a line a kind of word."""
    titles = ("hit", "±", "very object", "elsewhere", "by chance", "any object", "words")
    width = 12
    lines = [f"{'words':10}" + "".join(f"{title:>{width}}" for title in titles)]
    for name, row in figures.items():
        shares = (row[key] for key in ("accuracy", "accuracy_se", "owner", "other_picture", "chance", "chance_object"))
        lines.append(
            f"{name:10}" + "".join(f"{100 * share:{width}.1f}" for share in shares) + f"{row['words']:{width}.0f}"
        )
    lines.append("very object: the one that the word is said of; elsewhere: the word's map on the next pair's picture")
    lines.append("by chance: pointing at any patch; any object: pointing at one of the picture's objects, whichever")
    lines.append(f"in per cent; {100 * figures['all']['reachable']:.1f} could be hit with patches of this size")
    return "\n".join(lines)


COMMAND = EvalCommand(
    name="grounding",
    summary="Show where a model looks for each word of a caption (Grad-CAM of the cross-attention); on generated "
    "scenes also how often that is the right place.",
    example="mvlm-eval grounding --path checkpoints/checkpoint_last.pt --data data-bin/scenes --subset test --out maps",
    add_options=_add_options,
    run=_run,
)
