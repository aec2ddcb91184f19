"""A model whose answers are known: a caption's first word is its number, and tells the picture that it describes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import CaptionTokenizer
from mvlm_plugin.demo.gallery import Gallery, build_gallery
from tests.helpers import colour, make_dictionary


class Spaces:
    """Words are symbols."""

    def split(self, text: str) -> list[str]:
        return text.split()

    split_on = split

    def join(self, symbols: Sequence[str]) -> str:
        return " ".join(symbols)


def _unit(colours: list[tuple[int, int, int]]) -> Tensor:
    vectors = torch.tensor(colours, dtype=torch.float32).view(-1, 3)
    return vectors / vectors.norm(dim=1, keepdim=True)


class KnownModel:
    """Embeds a picture as its colour, and a caption as the colour of its picture.

    Args:
        store: of tests.helpers.write_databin(), 40 captions at most.
        liked: the picture that match() prefers.
    """

    grid = 4

    def __init__(self, store: PairStore, liked: int = 0) -> None:
        self.tokenizer = CaptionTokenizer(Spaces(), make_dictionary())
        self._picture_of = np.asarray(store.pairs)
        self._liked = colour(liked)
        self.model = self  # for .grid

    def _of_text(self, text: str) -> tuple[int, int, int]:
        return colour(int(self._picture_of[int(text.split()[0][1:])]))

    def encode_image(self, images: Image.Image | Iterable[Image.Image]) -> Tensor:
        pictures = [images] if isinstance(images, Image.Image) else images
        return _unit([picture.getpixel((0, 0)) for picture in pictures])

    def encode_text(self, texts: str | Iterable[str]) -> Tensor:
        return _unit([self._of_text(text) for text in ([texts] if isinstance(texts, str) else texts)])

    def match(self, images: Image.Image | list[Image.Image], texts: str | list[str]) -> Tensor:
        if isinstance(images, Image.Image):
            return torch.tensor([0.9 if self._of_text(text) == self._liked else 0.1 for text in texts])
        return torch.tensor([0.9 if image.getpixel((0, 0)) == self._liked else 0.1 for image in images])

    def reconstruct(self, image: Image.Image, caption: str, mask: np.ndarray) -> Image.Image:
        return Image.new("RGB", (32, 32), self._of_text(caption))

    def fill_mask(self, image: Image.Image, text: str, top_k: int) -> list[list[tuple[str, float]]]:
        return [[("<b>", 0.5), (str(image.getpixel((0, 0))[0]), 0.25)]] * text.count("[MASK]")


def known_gallery(folder: Path, liked: int = 0, max_images: int | None = None) -> tuple[KnownModel, Gallery]:
    """Model and gallery of the train split of a data-bin."""
    store = PairStore(folder, "train")
    model = KnownModel(store, liked)
    return model, build_gallery(model, store, model.tokenizer, max_images)  # type: ignore[arg-type]
