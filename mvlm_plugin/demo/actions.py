"""What the page does: checked inputs in, pictures and tables out. Without the page's package."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from ..data.databin import DataBinError
from ..data.image_index import ImageReadError
from ..data.images import BadImageError
from ..evaluation.grounding import caption_maps
from ..interface import VisionLanguageModel
from ..pictures import heat_map
from . import masking
from .gallery import Gallery
from .limits import InputError, check_masked, check_words, enlarge, read_photo, shrink
from .search import find_captions, find_photos
from .tables import captions_table, guesses_table

PHOTOS_FOUND = 12
CAPTIONS_FOUND = 10
_THUMBNAIL = 320  # pixels of the longer side
_GUESSES = 5

Labelled = tuple[Image.Image, str]


class Pair(NamedTuple):
    """A photo of the split and a caption; "" where it has none. place: of the photo in the gallery."""

    place: int
    photo: Image.Image
    caption: str


class Rebuilt(NamedTuple):
    """A photo with hidden patches, as hidden and rebuilt with the own and the wrong caption; and what to say of it."""

    hidden: Image.Image
    own: Image.Image
    wrong: Image.Image
    comment: str


class Actions:
    """The actions of the page.

    Args:
        model: from mvlm_plugin.load().
        gallery: the photos and captions that are searched and offered.
    """

    def __init__(self, model: VisionLanguageModel, gallery: Gallery) -> None:
        self.model, self.gallery = model, gallery
        self._rng = np.random.default_rng()

    def offer(self, count: int) -> list[Pair]:
        """Photos of the gallery, drawn at random, without what can no longer be read."""
        pairs = []
        for place in self._rng.permutation(len(self.gallery.images))[:count].tolist():
            try:
                pairs.append(self.pair(place))
            except (ImageReadError, BadImageError):
                continue
        return pairs

    def pair(self, place: int) -> Pair:
        """A photo with its first caption. Raises ImageReadError or BadImageError."""
        captions = self.gallery.captions_of(place)
        return Pair(place, self.gallery.photo(place), self.gallery.caption(captions[0]) if captions else "")

    def start(self) -> Pair:
        """The pair that the page begins with: that of the first caption whose photo can be read.

        Raises:
            DataBinError: there is none.
        """
        for number, place in enumerate(self.gallery.photo_of.tolist()):
            try:
                return Pair(place, self.gallery.photo(place), self.gallery.caption(number))
            except (ImageReadError, BadImageError):
                continue
        raise DataBinError(f"no photo of split {self.gallery.store.name} can be read; check it with mvlm-prep verify.")

    def examples(self, count: int = 4) -> list[str]:
        """Captions of the gallery, evenly spread over it."""
        captions = len(self.gallery.captions)
        return [self.gallery.caption(captions * number // count) for number in range(min(count, captions))]

    def wrong_partner(self, caption: str) -> Pair:
        """A photo with a caption other than this one, drawn at random.

        Raises:
            InputError: there is none.
        """
        gallery = self.gallery
        for number in self._rng.permutation(len(gallery.captions)).tolist()[:100]:
            other, place = gallery.caption(number), int(gallery.photo_of[number])
            if other == caption:
                continue
            try:
                return Pair(place, gallery.photo(place), other)
            except (ImageReadError, BadImageError):
                continue
        raise InputError("The gallery has no other caption: start with more images.")

    def caption_for(self, path: str | None) -> str:
        """The caption of the gallery that fits an uploaded photo best: something to start from."""
        found = find_captions(self.model, self.gallery, read_photo(path), 1, rerank=False)
        return self.gallery.caption(found[0].place)

    def search_photos(self, words: str | None, rerank: bool) -> tuple[list[Labelled], list[int]]:
        """Small photos with their scores, best first, and their places in the gallery."""
        query = check_words(words, "description")
        found = find_photos(self.model, self.gallery, query, PHOTOS_FOUND, rerank)
        shown = [
            (
                shrink(self.gallery.photo(one.place), _THUMBNAIL),
                f"similarity {one.similarity:.2f}" if one.matched is None else f"match {one.matched:.0%}",
            )
            for one in found
        ]
        return shown, [one.place for one in found]

    def search_captions(self, path: str | None, place: int | None, rerank: bool) -> str:
        """A table of captions, best first; those of the photo itself are marked, where ``place`` says which it is."""
        gallery = self.gallery
        found = find_captions(self.model, gallery, read_photo(path), CAPTIONS_FOUND, rerank)
        return captions_table(
            [
                (gallery.caption(one.place), one.similarity, one.matched, gallery.photo_of[one.place] == place)
                for one in found
            ]
        )

    def rebuild(
        self, path: str | None, layers: list[Image.Image] | None, caption: str | None, wrong: str | None
    ) -> Rebuilt:
        """Rebuild what was painted over, with two captions.

        Args:
            path: of the photo.
            layers: RGBA drawings over it; None = half of it is hidden at random.
            caption, wrong: the captions.
        """
        photo = read_photo(path)
        shown = enlarge(photo)
        own_words, wrong_words = check_words(caption, "caption"), check_words(wrong, "wrong caption")
        grid = self.model.model.grid
        if layers is None:
            patches = masking.random_patches(grid, self._rng)
        else:
            patches = masking.patches_of(masking.painted(layers, photo.size), grid)
        if not patches.any():
            raise InputError("Nothing is hidden yet: paint over a part of the photo, and not too thinly.")
        own, other = (
            masking.fill(shown, patches, self.model.reconstruct(photo, words, patches))
            for words in (own_words, wrong_words)
        )
        distances = [masking.difference(shown, rebuilt, patches) for rebuilt in (own, other)]
        comment = (
            f"{int(patches.sum())} of {grid * grid} patches were hidden. Distance to the true pixels, in grey levels "
            f"of 255: **{distances[0]:.1f}** with the caption, **{distances[1]:.1f}** with the wrong one."
        )
        return Rebuilt(masking.hide(shown, patches), own, other, comment)

    def guess(self, path: str | None, wrong_path: str | None, masked: str | None) -> str:
        """A table of the words for each mask, with two photos."""
        text = check_masked(masked)
        own, wrong = (self.model.fill_mask(read_photo(one), text, _GUESSES) for one in (path, wrong_path))
        return guesses_table(text, own, wrong)

    def maps(self, path: str | None, caption: str | None) -> tuple[list[Labelled], str]:
        """The photo once for each word of the caption, with the word's map over it; and what to say of the pair."""
        photo, text = read_photo(path), check_words(caption, "caption")
        tokens = self.model.tokens(text)
        (maps,) = caption_maps(self.model.model, self.model.tokenizer, self.model.pixels(photo), tokens)
        shown = [(heat_map(photo, values), word) for word, values in maps]
        matched = float(self.model.match(photo, text)[0])
        return shown, f"Photo and caption match with probability **{matched:.0%}**."
