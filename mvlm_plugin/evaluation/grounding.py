"""Weakly supervised grounding: where in an image a model looks for each word, and whether that is the right place."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.tokenizers import CaptionTokenizer
from ..models.mvlm import MvlmModel
from ..modules.cross_stream import CrossStream


class Observation(NamedTuple):
    """What matching saw of B pairs.

    score: (B,) log-odds of "matched"; probabilities: (B, heads, L, P + 1) of the text stream's cross-attention in one
    block, words asking patches, place 0 = [CLS]; both in one graph.
    """

    score: Tensor
    probabilities: Tensor


class WordMap(NamedTuple):
    """A word of a caption, and its (G, G) map."""

    word: str
    values: Tensor


def default_layer(model: MvlmModel) -> int:
    """The last block of the text stream whose words still reach the matching head.

    Matching reads token 0 of the last block, whose own cross-attention is the last mix of tokens and patches: what the
    other words look at there has no effect, so that its gradient is zero.

    Raises:
        ValueError: the text stream is not one of cross blocks, or has one block only.
    """
    stream = model.fusion.text_stream
    if not isinstance(stream, CrossStream):
        raise ValueError(f"--fusion {model.cfg.fusion} has no cross-attention that can be observed; use co_attention")
    if len(stream.blocks) < 2:
        raise ValueError("word maps need --fusion-layers 2 or more: words of the last block do not reach the matching")
    return len(stream.blocks) - 2


def observe_matching(model: MvlmModel, image: Tensor, text: Tensor, padding_mask: Tensor, layer: int) -> Observation:
    """Match pairs row by row, and keep what the words look at in one block.

    Args:
        image: (B, P + 1, D) features of whole images.
        text: (B, L, D) features of whole captions.
        padding_mask: (B, L) bool, True = padding.
        layer: block of the text stream, from 0.
    """
    streams = model.fusion
    from_image = streams.image_stream(image, None, streams.image_stream.project(text), padding_mask, first_only=True)
    from_text, probabilities = streams.text_stream.observe(
        text, padding_mask, streams.text_stream.project(image), None, layer
    )
    logits = model.matching(from_image[:, 0], from_text[:, 0]).float()
    return Observation(logits[:, 1] - logits[:, 0], probabilities)


def word_maps(model: MvlmModel, pixels: Tensor, tokens: Tensor, layer: int | None = None) -> Tensor:
    """Grad-CAM of the cross-attention for each token, as ALBEF's (Li et al., 2021, appendix on visual grounding).

    A map is the attention from the token to the patches times its gradient, where that is positive, averaged over
    heads: the patches that were looked at and that speak for "matched". The gradient is that of the log-odds of
    "matched"; ALBEF takes the logit of "matched" alone, to which training may add any number.

    Args:
        model: in eval mode, on the device of the other arguments.
        pixels: (B, 3, S, S) uint8.
        tokens: (B, L) int64, <s> words </s>, padded.
        layer: block of the text stream, from 0; default: the last but one, see default_layer().

    Returns:
        (B, L, G, G) float32, not negative, row by row from the top; zero for padding.

    Raises:
        ValueError: there is no such block, or its words do not reach the matching.
    """
    last = default_layer(model)
    layer = last if layer is None else layer
    if not 0 <= layer <= last:
        raise ValueError(f"layer {layer} is not one of 0 to {last}: words of later blocks do not reach the matching")
    padding_mask = tokens.eq(model.padding_idx)
    with torch.no_grad():
        image, text = model.encode_image(model.normalize(pixels)), model.encode_text(tokens)
    with torch.enable_grad():
        seen = observe_matching(model, image, text.requires_grad_(), padding_mask, layer)
        (gradient,) = torch.autograd.grad(seen.score.sum(), seen.probabilities)
    maps = (seen.probabilities.detach() * gradient.clamp(min=0))[..., 1:].float().mean(dim=1)
    maps = maps.masked_fill(padding_mask[..., None], 0.0)
    return maps.unflatten(2, (model.grid, model.grid))


def maps_of_words(tokenizer: CaptionTokenizer, tokens: Sequence[int], maps: Tensor) -> list[WordMap]:
    """Maps of tokens -> maps of the words between spaces; a word of several tokens has their mean, as in ALBEF.

    Args:
        tokens: L ids, <s> words </s>, maybe padded.
        maps: (L, G, G), from word_maps().
    """
    text = tokenizer.decode(tokens)
    words = text.split()
    return [
        WordMap(word, maps[columns].mean(dim=0))
        for word, columns in zip(words, _columns_of_words(tokenizer, tokens), strict=False)
    ]


def _columns_of_words(tokenizer: CaptionTokenizer, tokens: Sequence[int]) -> list[list[int]]:
    """The columns of each word's tokens: a token belongs to the word that the text ends with once it is there."""
    dictionary = tokenizer.dictionary
    hidden = {dictionary.bos(), dictionary.eos(), dictionary.pad()}
    columns: list[list[int]] = []
    waiting: list[int] = []  # tokens that show nothing yet, such as a space by itself
    shown = ""
    for column, token in enumerate(tokens):
        if token in hidden:
            continue
        text = tokenizer.decode(tokens[: column + 1])
        waiting.append(column)
        if text == shown:
            continue
        if len(text.split()) > len(columns):
            columns.append([])
        columns[-1] += waiting
        shown, waiting = text, []
    return columns
