"""Features of all images and captions of a split, each computed once, on the host."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.databin import DataBinError
from ..data.dataset import JointMaskedDataset
from ..data.image_index import ImageReadError
from ..data.images import BadImageError
from ..models.mvlm import MvlmModel

logger = logging.getLogger(__name__)


class TextFeatures(NamedTuple):
    """Features of N captions without their padding.

    tokens: (T, D) float32, the captions one after the other; lengths: (N,) int64.
    """

    tokens: Tensor
    lengths: Tensor

    def padded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(C,) int64 captions -> (C, L, D) features and (C, L) bool, True = padding, whose features mean nothing."""
        lengths = self.lengths[rows]
        starts = (self.lengths.cumsum(0) - self.lengths)[rows]
        place = torch.arange(int(lengths.max()))
        return self.tokens[(starts[:, None] + place).clamp_max(len(self.tokens) - 1)], place >= lengths[:, None]


class SplitFeatures(NamedTuple):
    """A split of M images and N captions, on the CPU.

    images: (M, P + 1, D) float32; image_embeddings, text_embeddings: (M, E) and (N, E) float32 unit vectors;
    image_of_text: (N,) int64; is_readable: (M,) bool, False = a bad image, whose rows are zero.
    """

    images: Tensor
    texts: TextFeatures
    image_embeddings: Tensor
    text_embeddings: Tensor
    image_of_text: Tensor
    is_readable: Tensor

    @property
    def mebibytes(self) -> float:
        """Host memory of it all."""
        tensors = (self.images, *self.texts, *self[2:])
        return sum(x.numel() * x.element_size() for x in tensors) / 2**20


def encode_split(
    model: MvlmModel, dataset: JointMaskedDataset, batch_size: int, device: torch.device | str
) -> SplitFeatures:
    """Encode every image of a split once, whether or not it has a caption, and every caption once.

    A bad image is reported, and counts as not readable.

    Args:
        model: in eval mode, on the device.
        dataset: a held-out split.
        batch_size: images, or captions, a pass.
        device: of the model.

    Raises:
        DataBinError: the split has no readable image, several images a caption, or is damaged.
        ValueError: the image pipeline changes from caption to caption.
    """
    image_of_text = images_of_texts(dataset)
    images, image_embeddings, is_readable = _encode_images(model, dataset, batch_size, device)
    texts, text_embeddings = _encode_texts(model, dataset, batch_size, device)
    return SplitFeatures(images, texts, image_embeddings, text_embeddings, image_of_text, is_readable)


def images_of_texts(dataset: JointMaskedDataset) -> Tensor:
    """(N,) int64 image of each caption of a split.

    Raises:
        DataBinError: several images a caption, or the table points outside the images.
    """
    store = dataset.store
    pairs = np.asarray(store.pairs).astype(np.int64).reshape(len(store), -1)
    if pairs.shape[1] != 1:
        raise DataBinError(f"split {store.name} of {store.folder} has {pairs.shape[1]} images a caption, not one")
    if pairs.min() < 0 or pairs.max() >= len(store.images):
        raise DataBinError(f"split {store.name} of {store.folder} points outside its images; run mvlm-prep verify")
    return torch.from_numpy(pairs[:, 0])


@torch.no_grad()
def _encode_images(
    model: MvlmModel, dataset: JointMaskedDataset, batch_size: int, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    count = len(dataset.store.images)
    features = embeddings = torch.zeros(0)
    is_readable = torch.zeros(count, dtype=torch.bool)
    for start in tqdm(range(0, count, batch_size), desc="images", unit="batch"):
        rows, pixels = read_images(dataset, range(start, min(start + batch_size, count)))
        if not rows:
            continue
        encoded = model.encode_image(model.normalize(torch.stack(pixels).to(device)))
        if not len(features):
            features = torch.zeros(count, *encoded.shape[1:])
            embeddings = torch.zeros(count, model.cfg.embedding_width)
        features[rows] = encoded.float().cpu()
        embeddings[rows] = model.embed_image(encoded).cpu()
        is_readable[rows] = True
    if not is_readable.any():
        raise DataBinError(f"split {dataset.store.name} has no readable image; check it with mvlm-prep verify.")
    return features, embeddings, is_readable


def read_images(dataset: JointMaskedDataset, image_ids: Iterable[int]) -> tuple[list[int], list[Tensor]]:
    """The readable ones of some images, and their pixels; the others are reported."""
    rows, pixels = [], []
    for image_id in image_ids:
        try:
            pixels.append(dataset.pixels(image_id))
            rows.append(image_id)
        except (ImageReadError, BadImageError) as error:
            logger.warning("image %d of split %s cannot be read: %s", image_id, dataset.store.name, error)
    return rows, pixels


@torch.no_grad()
def _encode_texts(
    model: MvlmModel, dataset: JointMaskedDataset, batch_size: int, device: torch.device | str
) -> tuple[TextFeatures, Tensor]:
    lengths = torch.from_numpy(dataset.num_tokens_vec(np.arange(len(dataset))))
    starts = lengths.cumsum(0) - lengths
    texts = TextFeatures(torch.zeros(int(lengths.sum()), model.cfg.fusion_width), lengths)
    embeddings = torch.zeros(len(dataset), model.cfg.embedding_width)
    # Captions of like length share a batch: less padding.
    for rows in tqdm(lengths.argsort(stable=True).split(batch_size), desc="captions", unit="batch"):
        tokens = dataset.tokens(rows.numpy())
        encoded = model.encode_text(tokens.to(device))
        embeddings[rows] = model.embed_text(encoded).cpu()
        place = torch.arange(tokens.size(1))
        is_word = place < lengths[rows, None]
        texts.tokens[(starts[rows, None] + place)[is_word]] = encoded.float().cpu()[is_word]
    return texts, embeddings


def protocol_entries(features: SplitFeatures) -> dict[str, Any]:
    """What an evaluation of a split says of it: images, captions, bad images, host memory of the features."""
    return {
        "images": len(features.is_readable),
        "captions": len(features.image_of_text),
        "bad_images": int((~features.is_readable).sum()),
        "features_mib": round(features.mebibytes),
    }
