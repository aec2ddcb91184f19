"""Zero-shot classification: the class whose prompts fit an image best (as CLIP; Radford et al., ICML 2021)."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.mvlm import MvlmModel
from .pair_table import mean_and_error
from .scenes import SceneFacts

SLOT = "{}"
# Classes of a wrong answer that still counts as top-5.
_TOP = 5


class Question(NamedTuple):
    """Images that are asked the same thing.

    prompts: texts with "{}" for the class, e.g. ["a {} circle"]; images: their numbers; labels: the right classes.
    """

    prompts: list[str]
    images: list[int]
    labels: list[int]


def fill(prompts: Sequence[str], names: Sequence[str]) -> list[str]:
    """All prompts of the first class, with its name in place of "{}", then those of the next."""
    return [prompt.replace(SLOT, name) for name in names for prompt in prompts]


def scene_questions(scenes: Sequence[SceneFacts]) -> dict[str, tuple[list[str], list[Question]]]:
    """What can be asked about generated scenes so that one answer is right.

    "colour": of the only circle in a picture ("a {} circle"), of the only star, and so on; "shape": of the only red
    object ("a red {}"), and so on; "background": of every picture ("a {} background"). A picture with two circles is
    not asked for the colour of its circle.

    Returns:
        For each of them the names of the classes, which occur in these scenes, and the questions.
    """
    colours, shapes = (
        sorted({getattr(o, kind) for scene in scenes for o in scene.objects}) for kind in ("colour", "shape")
    )
    backgrounds = sorted({scene.background for scene in scenes})
    of_colour = [_about_only(scenes, "shape", shape, "colour", colours, f"a {SLOT} {shape}") for shape in shapes]
    of_shape = [_about_only(scenes, "colour", colour, "shape", shapes, f"a {colour} {SLOT}") for colour in colours]
    labels = [backgrounds.index(scene.background) for scene in scenes]
    of_background = Question([f"a {SLOT} background"], list(range(len(scenes))), labels)
    return {
        "colour": (colours, of_colour),
        "shape": (shapes, of_shape),
        "background": (backgrounds, [of_background]),
    }


def _about_only(
    scenes: Sequence[SceneFacts], known: str, value: str, asked: str, names: list[str], prompt: str
) -> Question:
    """About the ``asked`` of the only object whose ``known`` is ``value``."""
    images, labels = [], []
    for image, scene in enumerate(scenes):
        fitting = [item for item in scene.objects if getattr(item, known) == value]
        if len(fitting) == 1:
            images.append(image)
            labels.append(names.index(getattr(fitting[0], asked)))
    return Question([prompt], images, labels)


@torch.no_grad()
def contrastive_scores(model: MvlmModel, image: Tensor, tokens: Tensor, prompts: int) -> Tensor:
    """Cosine of an image and the mean of a class's prompts, as unit vectors.

    Args:
        image: (N, P + 1, D) features.
        tokens: (C * prompts, L), class by class.
        prompts: a class.

    Returns:
        (N, C) float32.
    """
    embedded = model.embed_text(model.encode_text(tokens))
    classes = F.normalize(embedded.view(-1, prompts, embedded.size(1)).mean(dim=1), dim=1)
    return model.embed_image(image) @ classes.T


@torch.no_grad()
def matching_scores(model: MvlmModel, image: Tensor, tokens: Tensor, prompts: int) -> Tensor:
    """Log-odds of "matched" of an image and a class's prompts, their mean; one pass of N * C * prompts pairs.

    Arguments and result as of contrastive_scores().
    """
    text, padding_mask = model.encode_text(tokens), tokens.eq(model.padding_idx)
    image_rows = torch.arange(len(image), device=image.device).repeat_interleave(len(tokens))
    text_rows = torch.arange(len(tokens), device=image.device).repeat(len(image))
    logits = model.match(image, text, padding_mask, image_rows, text_rows).float()
    return (logits[:, 1] - logits[:, 0]).view(len(image), -1, prompts).mean(dim=2)


def classification_figures(scores: Tensor, labels: Tensor, images: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """What the scores of N asked images are worth. A class that ties with the right one counts as ahead of it.

    Args:
        scores: (N, C); labels: (N,) int64; images: (N,) int64, equal for what is asked of one image.
        names: of the C classes.

    Returns:
        ``top1``, its standard error ``top1_se``, ``top5`` (more than 5 classes only), ``asked``, ``chance`` (1 / C),
        ``most_frequent`` (share of the class that is right most often), ``per_class`` (share found of each class, those
        with images only), ``confusion`` (C x C counts: row = right class, column = best score).

    Raises:
        ValueError: nothing was asked, or scores are not finite.
    """
    if not len(labels):
        raise ValueError("no image to classify")
    if not scores.isfinite().all():
        raise ValueError("the checkpoint's scores are not finite: its training diverged")
    own = scores.gather(1, labels[:, None])
    ranks = (scores >= own).sum(dim=1) - 1
    top1, error = mean_and_error((ranks == 0).double(), images)
    others = scores.scatter(1, labels[:, None], float("-inf"))
    chosen = torch.where(ranks == 0, labels, others.argmax(dim=1)) if len(names) > 1 else labels
    confusion = torch.zeros(len(names), len(names), dtype=torch.int64)
    confusion.index_put_((labels, chosen), torch.ones_like(labels), accumulate=True)
    totals = confusion.sum(dim=1)
    figures: dict[str, Any] = {"top1": top1, "top1_se": error}
    if len(names) > _TOP:
        figures["top5"] = (ranks < _TOP).double().mean().item()
    found = confusion.diagonal() / totals.clamp_min(1)
    return figures | {
        "asked": len(labels),
        "chance": 1 / len(names),
        "most_frequent": max(Counter(labels.tolist()).values()) / len(labels),
        "per_class": {name: found[i].item() for i, name in enumerate(names) if totals[i]},
        "confusion": confusion.tolist(),
    }
