"""The methods of a loaded model."""

import copy
import re
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.collate import pad_rows
from ..data.tokenizers import CaptionTokenizer
from ..data.transforms import Pipeline
from ..models.mvlm import MvlmModel
from ..modules.patches import patchify, unpatchify
from .pictures import Picture, as_pictures, as_texts, in_batches, read_mask, read_pixels, size_of

# What stands for a hidden word in a text.
MASKS = re.compile(r"\[MASK\]|<mask>")


class VisionLanguageModel:
    """A trained model, its tokenizer and its image pipeline.

    Images are paths, PIL images of any mode (turned upright by their EXIF data), (H, W, 3) or grey (H, W) uint8 arrays,
    or several of them in a list or another iterable, which is read batch by batch. Results lie on the CPU, but for
    pixels() and tokens(), whose results are the model's arguments.

    Args:
        model: in eval mode, on its device.
        tokenizer: with the dictionary of the model, <mask> as its last symbol.
        pipeline: encoded image -> pixels, as held-out images of the training were read.

    Attributes:
        model, tokenizer: as given.
        image_size: pixels a side that the model sees.
        device: of the model.
    """

    def __init__(self, model: MvlmModel, tokenizer: CaptionTokenizer, pipeline: Pipeline) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_size = pipeline.image_size
        self.device = next(model.parameters()).device
        self._pipeline = pipeline
        self._mask_id = len(tokenizer.dictionary) - 1

    def pixels(self, images: Picture | Iterable[Picture]) -> Tensor:
        """N images as the model takes them: (N, 3, S, S) uint8 on its device.

        Raises:
            OSError: a file is missing.
            BadImageError: an image is damaged or too large; the message says which.
            TypeError, ValueError: something is no image, e.g. an array of floats.
        """
        return read_pixels(enumerate(as_pictures(images)), self._pipeline).to(self.device)

    def tokens(self, texts: str | Iterable[str]) -> Tensor:
        """N texts as the model takes them: (N, L) int64 on its device: <s>, the text, </s>, padding.

        Longer texts are cut to max_text_tokens. "[MASK]" is text like any other here.
        """
        return self._padded([self.tokenizer.encode(text) for text in as_texts(texts)])

    @torch.no_grad()
    def encode_image(self, images: Picture | Iterable[Picture], batch_size: int = 64) -> Tensor:
        """N images -> (N, E) float32 unit vectors; their dot products with those of texts are cosine similarities.

        Raises:
            OSError, BadImageError, TypeError, ValueError: as pixels(); batch_size is less than 1.
        """
        batches = in_batches(enumerate(as_pictures(images)), batch_size)
        return self._joined([self.model.embed_image(self._image_features(batch)).cpu() for batch in batches])

    @torch.no_grad()
    def encode_text(self, texts: str | Iterable[str], batch_size: int = 64) -> Tensor:
        """N texts -> (N, E) float32 unit vectors.

        Raises:
            ValueError: batch_size is less than 1.
        """
        batches = in_batches(as_texts(texts), batch_size)
        return self._joined(
            [self.model.embed_text(self.model.encode_text(self.tokens(batch))).cpu() for batch in batches]
        )

    @torch.no_grad()
    def match(self, images: Picture | Iterable[Picture], texts: str | Iterable[str], batch_size: int = 64) -> Tensor:
        """Probability that image i and text i belong together: (N,) float32.

        One image is compared with all texts, and one text with all images.

        Raises:
            OSError, BadImageError, TypeError, ValueError: as pixels(); other numbers of images and texts, or
                batch_size is less than 1.
        """
        pictures, captions = list(enumerate(as_pictures(images))), list(as_texts(texts))
        if len(pictures) != len(captions) and 1 not in (len(pictures), len(captions)):
            raise ValueError(f"{len(pictures)} images and {len(captions)} texts are no pairs; give as many, or one")
        count = min(len(pictures), len(captions)) and max(len(pictures), len(captions))
        results = [torch.zeros(0)]
        features = self._image_features(pictures) if count and len(pictures) == 1 else None
        for rows in in_batches(range(count), batch_size):
            tokens = self.tokens(captions if len(captions) == 1 else captions[rows[0] : rows[-1] + 1])
            image = self._image_features(pictures[rows[0] : rows[-1] + 1]) if features is None else features
            text, padding_mask = self.model.encode_text(tokens), tokens.eq(self.model.padding_idx)
            pairs = torch.arange(len(rows), device=self.device)
            logits = self.model.match(image, text, padding_mask, pairs % len(image), pairs % len(text))
            results.append(logits.float().softmax(dim=1)[:, 1].cpu())
        return torch.cat(results)

    @torch.no_grad()
    def fill_mask(self, image: Picture, text: str, top_k: int = 5) -> list[list[tuple[str, float]]]:
        """The likeliest words for each "[MASK]" (or "<mask>") of a text about an image.

        Args:
            image: one image.
            text: e.g. "a [MASK] dog on the [MASK]"; each mask is one token of the tokenizer, most often a word.
            top_k: words of each mask.

        Returns:
            For each mask, in order, the words and their probabilities, likeliest first. Special symbols are not among
            them; the probabilities of all other tokens sum to 1.

        Raises:
            OSError, BadImageError, TypeError, ValueError: as pixels(); no mask in the text, or one behind its first
                max_text_tokens tokens, or top_k is less than 1.
        """
        parts = MASKS.split(text)
        if len(parts) == 1:
            raise ValueError(f"{text!r} has no [MASK]; write e.g. 'a [MASK] dog'")
        if top_k < 1:
            raise ValueError(f"top_k {top_k} must be at least 1")
        tokens = self._padded([self.tokenizer.encode_around(parts, self._mask_id)])
        places = tokens[0].eq(self._mask_id).nonzero().flatten()
        if len(places) < len(parts) - 1:
            limit = self.model.cfg.max_text_tokens
            raise ValueError(f"a [MASK] lies behind the first {limit} tokens, which the model reads; shorten the text")
        context = self.model.fusion.text_stream.project(self._image_features([(0, image)]))
        features, padding_mask = self.model.encode_text(tokens), tokens.eq(self.model.padding_idx)
        logits = self.model.predict_words(features, padding_mask, context, places).float()
        first_word = self.tokenizer.dictionary.nspecial
        best = logits[:, first_word : self._mask_id].softmax(dim=1).sort(dim=1, descending=True)
        ranked = zip((first_word + best.indices).tolist(), best.values.tolist(), strict=True)
        return [list(islice(self._words(*row), top_k)) for row in ranked]

    def _words(self, ids: list[int], probabilities: list[float]) -> Iterator[tuple[str, float]]:
        """Tokens as text; those of nothing but space are left out."""
        for token, probability in zip(ids, probabilities, strict=True):
            if word := self.tokenizer.decode([token]):
                yield word, probability

    @torch.no_grad()
    def reconstruct(self, image: Picture, caption: str, mask: np.ndarray) -> Image.Image:
        """An image whose hidden patches are rebuilt from the visible ones and a caption.

        Args:
            image: one image.
            caption: what it shows; may have "[MASK]" in it.
            mask: bool, True = hidden: (G, G) of the model's patches, or (H, W) of the image's own pixels, upright. A
                patch is hidden where the mask covers half of any of its pixels, at the model's resolution.

        Returns:
            RGB image of image_size x image_size pixels. Visible patches are the image's own.

        Raises:
            OSError, BadImageError, TypeError, ValueError: as pixels(); a mask of another type or shape.
        """
        pixels = self.pixels([image])
        hidden = self._hidden_patches(image, mask)
        tokens = self._padded([self.tokenizer.encode_around(MASKS.split(caption), self._mask_id)])
        masked = self._masked_features(pixels, hidden)
        text, padding_mask = self.model.encode_text(tokens), tokens.eq(self.model.padding_idx)
        patch_size = self.model.image_encoder.patch_size
        predicted = self.model.predict_pixels(masked, text, padding_mask).float()
        patches = self.model.rebuilt_patches(predicted, self.model.normalize(pixels))
        rebuilt = self.model.normalize.undo(unpatchify(patches, patch_size, self.model.grid))
        grid = hidden.view(self.model.grid, self.model.grid)
        hidden_pixels = grid.repeat_interleave(patch_size, dim=0).repeat_interleave(patch_size, dim=1)
        merged = torch.where(hidden_pixels, rebuilt, pixels)[0]
        return Image.fromarray(merged.permute(1, 2, 0).cpu().numpy())

    def _hidden_patches(self, image: Picture, mask: np.ndarray) -> Tensor:
        """The mask of reconstruct() -> (1, P) bool of the model's patches."""
        given, grid = np.asarray(mask), self.model.grid
        if given.dtype != np.bool_:
            raise ValueError(f"the mask has type {given.dtype}; it must be bool, True = hidden")
        if given.shape == (grid, grid):
            return torch.from_numpy(given.copy()).view(1, -1).to(self.device)
        size = size_of(image)
        if given.shape != size:
            raise ValueError(
                f"the mask has shape {given.shape}; it must be ({grid}, {grid}), the model's patches, or {size}, "
                "height and width of the image"
            )
        hidden = patchify(read_mask(given, self._pipeline)[None, None], self.model.image_encoder.patch_size)
        return hidden.any(dim=2).to(self.device)

    def _masked_features(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """Features (1, P + 1, D) of an image whose patches (1, P) are hidden."""
        encoder = self.model.image_encoder
        if getattr(encoder, "visible_patches", 0):  # of a user's mask any number is visible, not that of the training
            encoder = copy.copy(encoder)
            encoder.visible_patches = int((~hidden).sum())
            if not encoder.visible_patches:
                raise ValueError("the mask hides all patches; leave one visible for a model of --visible-patches-only")
        return self.model.image_adapter(encoder(self.model.normalize(pixels), hidden))

    def _image_features(self, images: Iterable[tuple[int, Picture]]) -> Tensor:
        """N images and their numbers -> features (N, P + 1, D)."""
        pixels = read_pixels(images, self._pipeline).to(self.device)
        return self.model.encode_image(self.model.normalize(pixels))

    def _padded(self, ids: list[list[int]]) -> Tensor:
        """Ids of texts without <s> -> (N, L) int64; cut as the training cuts captions."""
        dictionary, limit = self.tokenizer.dictionary, self.model.cfg.max_text_tokens
        rows = [[dictionary.bos(), *(row if len(row) < limit else [*row[: limit - 2], row[-1]])] for row in ids]
        return pad_rows([np.array(row) for row in rows], dictionary.pad()).to(self.device)

    def _joined(self, batches: list[Tensor]) -> Tensor:
        return torch.cat([torch.zeros(0, self.model.cfg.embedding_width), *batches])
