"""Masked captions as text: with their words blanked or filled in, and as tables of the words that were predicted."""

import html
from typing import Any, NamedTuple

from ..data.tokenizers import CaptionTokenizer
from .predictions import Predictions, Words

_BLANK = "____"


class MaskedWords(NamedTuple):
    """The masked words of one caption: their columns among its tokens, and their numbers in the batch's predictions."""

    tokens: list[int]
    columns: list[int]
    numbers: list[int]


def masked_words(sample: dict[str, Any], row: int) -> MaskedWords:
    """Of pair ``row`` of a batch on the CPU."""
    inputs = sample["net_input"]
    length = inputs["tokens"].size(1)
    numbers = (inputs["mlm_positions"] // length == row).nonzero().flatten().tolist()
    columns = [int(inputs["mlm_positions"][number]) % length for number in numbers]
    return MaskedWords(inputs["tokens"][row].tolist(), columns, numbers)


def _filled(tokenizer: CaptionTokenizer, tokens: list[int], shown: dict[int, str]) -> str:
    """The caption with the text of some positions replaced by what is shown in brackets there."""
    hidden = {tokenizer.dictionary.bos(), tokenizer.dictionary.eos(), tokenizer.dictionary.pad()}
    symbols = [
        f" [{shown[position]}]" if position in shown else tokenizer.dictionary[token]
        for position, token in enumerate(tokens)
        if token not in hidden
    ]
    return tokenizer.splitter.join(symbols)


def caption_lines(tokenizer: CaptionTokenizer, masked: MaskedWords, predictions: Predictions) -> list[str]:
    """A caption as it is, masked, and filled in from its own and from another image."""

    def best(words: Words) -> dict[int, str]:
        chosen = [tokenizer.decode([int(words.ids[number, 0])]) for number in masked.numbers]
        return dict(zip(masked.columns, chosen, strict=True))

    texts = {
        "caption": {},
        "masked": dict.fromkeys(masked.columns, _BLANK),
        "own image": best(predictions.own_words),
        "other image": best(predictions.other_words),
    }
    return [f"{name}: {_filled(tokenizer, masked.tokens, shown)}" for name, shown in texts.items()]


def word_tables(tokenizer: CaptionTokenizer, sample: dict[str, Any], predictions: Predictions) -> str:
    """Markdown: each masked caption, and for each masked word the true one and the likeliest ones with probabilities.

    Args:
        tokenizer: of the captions.
        sample: batch as collate() makes it, on the CPU.
        predictions: of that batch.
    """

    def candidates(words: Words, number: int) -> str:
        pairs = zip(words.ids[number].tolist(), words.probabilities[number].tolist(), strict=True)
        return ", ".join(f"{_plain(tokenizer.decode([word]))} {probability:.2f}" for word, probability in pairs)

    parts = []
    for row in range(len(sample["net_input"]["tokens"])):
        masked = masked_words(sample, row)
        blanks = {column: f"{place}: {_BLANK}" for place, column in enumerate(masked.columns, 1)}
        lines = [_plain(_filled(tokenizer, masked.tokens, blanks)), ""]
        lines += ["| | true word | own image | other image |", "|---|---|---|---|"]
        for place, (column, number) in enumerate(zip(masked.columns, masked.numbers, strict=True), 1):
            true = _plain(tokenizer.decode([masked.tokens[column]]))
            own, other = (candidates(words, number) for words in (predictions.own_words, predictions.other_words))
            lines.append(f"| {place} | {true} | {own} | {other} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _plain(text: str) -> str:
    """Text in which Markdown and HTML mean nothing: captions may hold anything."""
    escaped = html.escape(text)
    return "".join(f"&#{ord(letter)};" if letter in "\\`*_{}[]()#+-.!|~\n" else letter for letter in escaped)
