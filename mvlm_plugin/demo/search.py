"""Search in a gallery: by the contrastive features, and the best of them put in order by matching."""

from typing import NamedTuple

from PIL import Image
from torch import Tensor

from ..interface import VisionLanguageModel
from .gallery import Gallery

# The best by ITC that ITM puts in order: each costs a pass of the cross-modality encoders.
RERANKED = 32


class Found(NamedTuple):
    """A photo or caption that was found.

    place: in the gallery; similarity: cosine of the ITC features; matched: probability of ITM that photo and caption
    are a pair, None where ITM was not asked.
    """

    place: int
    similarity: float
    matched: float | None = None


def _nearest(query: Tensor, features: Tensor, count: int) -> list[Found]:
    """The nearest rows of (N, E) features to an (E,) query, best first."""
    values, places = (features @ query).topk(min(count, len(features)))
    return [Found(place, value) for place, value in zip(places.tolist(), values.tolist(), strict=True)]


def _in_order(found: list[Found], matched: Tensor, count: int) -> list[Found]:
    """The best by their ITM probability."""
    judged = [one._replace(matched=p) for one, p in zip(found, matched.tolist(), strict=True)]
    return sorted(judged, key=lambda one: one.matched or 0.0, reverse=True)[:count]


def find_photos(model: VisionLanguageModel, gallery: Gallery, words: str, count: int, rerank: bool) -> list[Found]:
    """The photos that fit some words best, best first.

    Args:
        count: photos wanted at most.
        rerank: order the best RERANKED by ITM; otherwise ITC orders alone.

    Raises:
        ImageReadError, BadImageError: a photo that was found can no longer be read.
    """
    query = model.encode_text(words)[0]
    found = _nearest(query, gallery.image_features, max(count, RERANKED) if rerank else count)
    if not rerank:
        return found
    photos = [gallery.photo(one.place) for one in found]
    return _in_order(found, model.match(photos, words), count)


def find_captions(
    model: VisionLanguageModel, gallery: Gallery, photo: Image.Image, count: int, rerank: bool
) -> list[Found]:
    """The captions that fit a photo best, best first; arguments as for find_photos()."""
    query = model.encode_image(photo)[0]
    found = _nearest(query, gallery.text_features, max(count, RERANKED) if rerank else count)
    if not rerank:
        return found
    texts = [gallery.caption(one.place) for one in found]
    return _in_order(found, model.match(photo, texts), count)
