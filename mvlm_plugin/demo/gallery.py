"""Photos and captions of a split that the page searches: their features are kept, never their pixels."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..data.databin import DataBinError
from ..data.image_index import ImageReadError
from ..data.images import BadImageError, decode_rgb
from ..data.store import PairStore
from ..data.tokenizers import CaptionTokenizer
from ..interface import VisionLanguageModel
from .limits import shrink

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """M photos and C captions of them.

    Attributes:
        store: the split they are of.
        tokenizer: that the split's captions are stored with; the model's may be another.
        images: (M,) int64, numbers of the photos in the split.
        captions: (C,) int64, numbers of the captions in the split.
        photo_of: (C,) int64, the photo (its place among the M) of each caption; the first where a caption has several.
        image_features: (M, E) float32 unit vectors, on the host.
        text_features: (C, E) float32 unit vectors, on the host.
        bad_images: images that could not be read; they are none of the M.
    """

    store: PairStore
    tokenizer: CaptionTokenizer
    images: np.ndarray
    captions: np.ndarray
    photo_of: np.ndarray
    image_features: Tensor
    text_features: Tensor
    bad_images: int

    def photo(self, place: int) -> Image.Image:
        """One of the M photos, shrunk as uploads are. Raises ImageReadError or BadImageError."""
        return _read(self.store, int(self.images[place]))

    def caption(self, place: int) -> str:
        """One of the C captions."""
        return self.tokenizer.decode(self.store.captions.tokens(int(self.captions[place])).tolist())

    def captions_of(self, photo: int) -> list[int]:
        """Places of the captions of a photo; there may be none."""
        return np.flatnonzero(self.photo_of == photo).tolist()


def build_gallery(
    model: VisionLanguageModel, store: PairStore, tokenizer: CaptionTokenizer, max_images: int | None = None
) -> Gallery:
    """Encode the first images of a split and their captions, each once, with progress bars.

    Args:
        model: from mvlm_plugin.load().
        store: the split.
        tokenizer: of its data-bin.
        max_images: how many images of the split take part; None = all.

    Raises:
        DataBinError: none of the images can be read, or none has a caption.
    """
    wanted = len(store.images) if max_images is None else min(max_images, len(store.images))
    images, image_features = _encode_images(model, store, wanted)
    if not len(images):
        raise DataBinError(
            f"none of {wanted} images of split {store.name} can be read; check it with mvlm-prep verify."
        )
    place = np.full(len(store.images), -1)
    place[images] = np.arange(len(images))
    first = np.asarray(store.pairs).reshape(len(store), -1)[:, 0]
    if first.min() < 0 or first.max() >= len(store.images):
        raise DataBinError(f"split {store.name} points outside its images; check it with mvlm-prep verify.")
    captions = np.flatnonzero(place[first] >= 0)
    if not len(captions):
        raise DataBinError(f"none of {len(images)} images of split {store.name} has a caption; raise --max-images.")
    features = _encode_captions(model, store, tokenizer, captions)
    bad_images = wanted - len(images)
    photo_of = place[first[captions]]
    return Gallery(store, tokenizer, images, captions, photo_of, image_features, features, bad_images)


def _read(store: PairStore, image: int) -> Image.Image:
    return shrink(decode_rgb(store.images.read(image)))


def _encode_images(model: VisionLanguageModel, store: PairStore, count: int) -> tuple[np.ndarray, Tensor]:
    """Numbers and features of the readable ones among the first ``count`` images; the others are reported."""
    kept: list[int] = []

    def photos() -> Iterator[Image.Image]:
        for image in tqdm(range(count), desc="photos", unit="photo"):
            try:
                photo = _read(store, image)
            except (ImageReadError, BadImageError) as error:
                logger.warning("image %d of split %s left out: %s", image, store.name, error)
                continue
            kept.append(image)
            yield photo

    features = model.encode_image(photos())
    return np.array(kept, dtype=np.int64), features


def _encode_captions(
    model: VisionLanguageModel, store: PairStore, tokenizer: CaptionTokenizer, captions: np.ndarray
) -> Tensor:
    bar = tqdm(captions.tolist(), desc="captions", unit="caption")
    return model.encode_text(tokenizer.decode(store.captions.tokens(caption).tolist()) for caption in bar)
