"""Caption text as it is stored: one line of clean Unicode."""

import unicodedata
from typing import NamedTuple

# Control characters and unpaired surrogates; the latter cannot even be written as UTF-8.
_REMOVED_CATEGORIES = {"Cc", "Cs"}
# Nothing of these can be seen: format characters, unassigned ones, separators.
_INVISIBLE = ("C", "Z")


class Rejection(NamedTuple):
    """Why a caption cannot be used: a short category for counting and the full reason."""

    category: str
    reason: str


class CaptionLimits(NamedTuple):
    """Which captions are kept: at least so many words, at most so many characters."""

    min_words: int
    max_chars: int


def clean_caption(text: str) -> str:
    """Normalise to NFC, replace control characters by spaces, collapse white space.

    Returns:
        The cleaned caption; empty where nothing visible is left.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(char) in _REMOVED_CATEGORIES else char for char in text)
    text = " ".join(text.split())
    if text.isascii() or any(not unicodedata.category(char).startswith(_INVISIBLE) for char in text):
        return text
    return ""


def accept_caption(text: str, limits: CaptionLimits) -> str | Rejection:
    """The cleaned caption, or why it is dropped."""
    # Normalising is quadratic in the worst case: what is far too long is not even looked at.
    clean = clean_caption(text) if len(text) <= 4 * limits.max_chars else text
    if not clean:
        return Rejection("empty caption", "the caption has no visible character")
    if len(clean) > limits.max_chars:
        return Rejection("long caption", f"{len(clean)} characters are more than the limit of {limits.max_chars}")
    words = clean.count(" ") + 1
    if words < limits.min_words:
        return Rejection("short caption", f"{words} words are fewer than the limit of {limits.min_words}")
    return clean
