"""Weakly supervised grounding: where in an image a model looks for each word, and whether that is the right place."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.tokenizers import CaptionTokenizer
from ..models.mvlm import MvlmModel
from ..modules.attention import KeyValue
from ..modules.cross_stream import CrossStream

# What a word's map speaks for: the prediction of the word itself, masked; or "matched", for the whole caption.
PREDICTION, MATCHING = "prediction", "matching"
SOURCES = (PREDICTION, MATCHING)


class Observation(NamedTuple):
    """What a score of B pairs depends on.

    score: (B,) log-odds of "matched", or log-likelihood of masked words; probabilities: (B, heads, L, P + 1) of the
    text stream's cross-attention in one block, words asking patches, place 0 = [CLS]; both in one graph.
    """

    score: Tensor
    probabilities: Tensor


class WordMap(NamedTuple):
    """A word of a caption, and its (G, G) map."""

    word: str
    values: Tensor


def last_layer(model: MvlmModel, source: str) -> int:
    """The last block of the text stream that a word's map can be of.

    A word is predicted from its own token, so that the last block counts. Matching reads token 0 of the last block:
    what the other words look at there has no effect, its gradient is zero, and the block before is the last one.

    Raises:
        ValueError: the text stream is not one of cross blocks, or matching has one block only.
    """
    stream = model.fusion.text_stream
    if not isinstance(stream, CrossStream):
        raise ValueError(f"--fusion {model.cfg.fusion} has no cross-attention that can be observed; use co_attention")
    last = len(stream.blocks) - (1 if source == PREDICTION else 2)
    if last < 0:
        raise ValueError("maps by matching need --fusion-layers 2 or more: words of the last block do not reach it")
    return last


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


def observe_prediction(
    model: MvlmModel, context: list[KeyValue], masked_text: Tensor, tokens: Tensor, masked: Tensor, layer: int
) -> Observation:
    """Predict masked words row by row, and keep what the words look at in one block.

    Args:
        context: from fusion.text_stream.project() of B whole images' features.
        masked_text: (B, L, D) features of the masked captions.
        tokens: (B, L) int64, the whole captions, padded.
        masked: (B, L) bool, True = masked; the score of a row without any is 0.
        layer: block of the text stream, from 0.
    """
    padding_mask = tokens.eq(model.padding_idx)
    fused, probabilities = model.fusion.text_stream.observe(masked_text, padding_mask, context, None, layer)
    logits = model.mlm_head(fused[masked], model.text_encoder.token_embedding.weight).float()
    likelihood = logits.log_softmax(dim=1).gather(1, tokens[masked][:, None]).squeeze(1)
    score = likelihood.new_zeros(len(tokens)).index_add(0, masked.nonzero()[:, 0], likelihood)
    return Observation(score, probabilities)


def matching_maps(model: MvlmModel, pixels: Tensor, tokens: Tensor, layer: int) -> Tensor:
    """Grad-CAM of the cross-attention for each token, as ALBEF's (Li et al., 2021, appendix on visual grounding).

    A map is the attention from the token to the patches times its gradient, where that is positive, averaged over
    heads: the patches that were looked at and that speak for "matched". The gradient is that of the log-odds of
    "matched"; ALBEF takes the logit of "matched" alone, to which training may add any number.

    Args:
        model: in eval mode, on the device of the other arguments.
        pixels: (B, 3, S, S) uint8.
        tokens: (B, L) int64, <s> words </s>, padded.
        layer: block of the text stream, from 0 to last_layer().

    Returns:
        (B, L, G, G) float32, not negative, row by row from the top; zero for padding.
    """
    padding_mask = tokens.eq(model.padding_idx)
    with torch.no_grad():
        image, text = model.encode_image(model.normalize(pixels)), model.encode_text(tokens)
    with torch.enable_grad():
        maps = _grad_cam(observe_matching(model, image, text.requires_grad_(), padding_mask, layer))
    return maps.masked_fill(padding_mask[..., None], 0.0).unflatten(2, (model.grid, model.grid))


def prediction_maps(
    model: MvlmModel, pixels: Tensor, tokens: Tensor, words: Tensor, mask_id: int, layer: int
) -> Tensor:
    """Grad-CAM of the cross-attention for each token of a word, for the prediction of that word when it is masked.

    As matching_maps(), but the gradient is that of the log-likelihood of the word's tokens, all masked, the rest of the
    caption being there: the patches that were looked at and that speak for just this word.

    Args:
        model, pixels, tokens, layer: as for matching_maps().
        words: (B, L) int64, number of the word that a token belongs to, from 0; -1: of none.
        mask_id: token id of <mask>.

    Returns:
        (B, L, G, G) float32, not negative, row by row from the top; zero for tokens of no word.
    """
    with torch.no_grad():
        context = model.fusion.text_stream.project(model.encode_image(model.normalize(pixels)))
    maps = torch.zeros(*tokens.shape, model.grid**2, device=tokens.device)
    for word in range(int(words.max()) + 1):
        masked = words.eq(word)
        with torch.no_grad():
            text = model.encode_text(tokens.masked_fill(masked, mask_id))
        with torch.enable_grad():
            seen = observe_prediction(model, context, text.requires_grad_(), tokens, masked, layer)
            maps[masked] = _grad_cam(seen)[masked]
    return maps.unflatten(2, (model.grid, model.grid))


def _grad_cam(seen: Observation) -> Tensor:
    """(B, L, P): attention times its positive gradient for the score, mean over heads."""
    (gradient,) = torch.autograd.grad(seen.score.sum(), seen.probabilities)
    return (seen.probabilities.detach() * gradient.clamp(min=0))[..., 1:].float().mean(dim=1)


def caption_maps(
    model: MvlmModel,
    tokenizer: CaptionTokenizer,
    pixels: Tensor,
    tokens: Tensor,
    source: str = PREDICTION,
    layer: int | None = None,
) -> list[list[WordMap]]:
    """Maps of the words between spaces of B captions, on the CPU; a word of several tokens has their mean, as in ALBEF.

    Args:
        model: in eval mode, on the device of pixels and tokens.
        tokenizer: with the dictionary of the model, <mask> as its last symbol.
        pixels: (B, 3, S, S) uint8.
        tokens: (B, L) int64, <s> words </s>, padded.
        source: PREDICTION or MATCHING.
        layer: block of the text stream, from 0; default: last_layer().

    Raises:
        ValueError: there is no such block, or its words do not reach the score.
    """
    last = last_layer(model, source)
    layer = last if layer is None else layer
    if not 0 <= layer <= last:
        raise ValueError(f"layer {layer} is not one of 0 to {last}: words of later blocks do not reach the {source}")
    words_of = [_words_of(tokenizer, row) for row in tokens.tolist()]
    if source == MATCHING:
        maps = matching_maps(model, pixels, tokens, layer)
    else:
        numbers = torch.full(tokens.shape, -1)
        for row, words in enumerate(words_of):
            for number, (_, columns) in enumerate(words):
                numbers[row, columns] = number
        mask_id = len(tokenizer.dictionary) - 1
        maps = prediction_maps(model, pixels, tokens, numbers.to(tokens.device), mask_id, layer)
    return [
        [WordMap(word, values[columns].mean(dim=0)) for word, columns in words]
        for words, values in zip(words_of, maps.cpu(), strict=True)
    ]


def _words_of(tokenizer: CaptionTokenizer, tokens: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Words and their tokens' columns: a token belongs to the word that the text ends with once it is there."""
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
    return list(zip(shown.split(), columns, strict=False))
