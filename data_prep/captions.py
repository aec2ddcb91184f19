"""Caption text as it is stored: one line of clean Unicode."""

import unicodedata

from .records import Caption, RejectionLog, SourceImage

# Control characters and unpaired surrogates; the latter cannot even be written as UTF-8.
_REMOVED_CATEGORIES = {"Cc", "Cs"}
# Nothing of these can be seen: format characters, unassigned ones, separators.
_INVISIBLE = ("C", "Z")


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


def clean_record(record: SourceImage, log: RejectionLog) -> SourceImage:
    """The image with clean captions, without the empty ones; those are logged. It may have none left."""
    captions: list[Caption] = []
    for caption in record.captions:
        text = clean_caption(caption.text)
        if text:
            captions.append(caption._replace(text=text))
        else:
            reason = "the caption has no visible character"
            log.add("empty caption", reason, caption.source, caption.position, record.image, caption.text)
    return record._replace(captions=captions)
