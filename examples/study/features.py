"""Pooled features of a model's encoders, of a split or of a share of its images."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from fairseq.data import Dictionary
from fairseq.models import MODEL_DATACLASS_REGISTRY
from torch import Tensor

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.fingerprint import fingerprint
from mvlm_plugin.data.fraction import captions_of_images, images_of_fraction
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_dictionary
from mvlm_plugin.evaluation.features import images_of_texts, read_images
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.models.mvlm import MvlmModel

from .grid import digest


class Pooled(NamedTuple):
    """Token 0 of the encoders: of M images (M, D) and N captions (N, D'), float32; image_of_text: (N,) int64."""

    images: Tensor
    texts: Tensor
    image_of_text: Tensor

    def of(self, is_kept: Tensor) -> "Pooled":
        """Some of the images, (M,) bool, with their captions."""
        has_image = is_kept[self.image_of_text]
        place = is_kept.cumsum(0) - 1
        return Pooled(self.images[is_kept], self.texts[has_image], place[self.image_of_text[has_image]])


class CaptionsOfImages(NamedTuple):
    """Which of N captions belong to each of M images: order (N,) int64, image by image; starts, counts (M,) int64."""

    order: Tensor
    starts: Tensor
    counts: Tensor

    @classmethod
    def of(cls, image_of_text: Tensor, images: int) -> "CaptionsOfImages":
        """(N,) int64 image of each caption, number of images -> the table."""
        counts = image_of_text.bincount(minlength=images)
        return cls(image_of_text.argsort(stable=True), counts.cumsum(0) - counts, counts)

    def draw(self, images: Tensor) -> Tensor:
        """(n,) int64 images with captions -> (n,) int64, one caption of each."""
        return self.order[self.starts[images] + (torch.rand(len(images)) * self.counts[images]).long()]


class Share(NamedTuple):
    """A split that is read as held-out data are, and the numbers of some of its images and captions."""

    dataset: JointMaskedDataset
    images: np.ndarray
    captions: np.ndarray

    def whole(self) -> "Share":
        """The whole split."""
        return Share(self.dataset, np.arange(len(self.dataset.store.images)), np.arange(len(self.dataset)))


def open_share(folder: str, split: str, model: MvlmModel, dictionary: Dictionary, fraction: float, seed: int) -> Share:
    """A share of a split's images, chosen as --data-fraction and --fraction-seed choose it.

    Raises:
        DataBinError: the data-bin or the split is missing or damaged.
    """
    cfg = model.cfg
    store = PairStore(Path(folder), split)
    options = PairOptions(
        cfg.image_size, cfg.max_text_tokens, cfg.image_mask_ratio, cfg.image_mask_block, cfg.text_mask_ratio
    )
    dataset = JointMaskedDataset(store, dictionary, options, seed, train=False)
    images = np.arange(len(store.images))
    if fraction < 1.0:
        images = images_of_fraction(store.hashes, fraction, seed)
    return Share(dataset, images, captions_of_images(np.asarray(store.pairs), images, len(store.images)))


def pooled_features(model: MvlmModel, share: Share, batch_size: int, folder: Path | None = None) -> Pooled:
    """Features of some images and captions; what cannot be read is left out with its captions.

    Args:
        model: in eval mode.
        share: of a split.
        batch_size: images, or captions, a pass.
        folder: where those of the whole split are kept for other shares of it; None: only the share is encoded.
    """
    if folder is None:
        return _encoded(model, share, batch_size)[0]
    path = folder / f"{_identity(model, share.dataset)}.safetensors"
    if not path.exists():
        _write(path, *_encoded(model, share.whole(), batch_size))
    kept = safetensors.torch.load_file(path)
    rows = kept.pop("rows")
    return Pooled(**kept).of(torch.from_numpy(np.isin(rows.numpy(), share.images)))


def _identity(model: MvlmModel, dataset: JointMaskedDataset) -> str:
    """Of the features of a split: its data, the weights that encode them, and the sizes."""
    hashed = hashlib.sha256()
    for part in (model.image_encoder, model.text_encoder):
        for name, value in part.state_dict().items():
            hashed.update(name.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    store, cfg = dataset.store, model.cfg
    sizes = [cfg.image_size, cfg.max_text_tokens]
    return digest([hashed.hexdigest(), fingerprint(store.folder), store.name, *sizes])


def _write(path: Path, pooled: Pooled, rows: list[int]) -> None:
    """Features that appear complete or not at all, also where several processes write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    safetensors.torch.save_file({**pooled._asdict(), "rows": torch.tensor(rows)}, partial)
    partial.replace(path)


@torch.no_grad()
def _encoded(model: MvlmModel, share: Share, batch_size: int) -> tuple[Pooled, list[int]]:
    """Features of a share, and the numbers of the images that could be read."""
    dataset, images, captions = share
    device = next(model.parameters()).device
    rows: list[int] = []
    image_features = []
    for start in range(0, len(images), batch_size):
        readable, pixels = read_images(dataset, images[start : start + batch_size].tolist())
        if readable:
            encoded = model.image_encoder(model.normalize(torch.stack(pixels).to(device)))
            image_features.append(encoded[:, 0].float().cpu())
            rows += readable
    captions, image_of_text = captions_of_readable(dataset, rows, captions)
    pooled = Pooled(torch.cat(image_features), pooled_texts(model, dataset, captions, batch_size), image_of_text)
    return pooled, rows


def captions_of_readable(
    dataset: JointMaskedDataset, rows: list[int], captions: np.ndarray
) -> tuple[np.ndarray, Tensor]:
    """Those of some captions whose image is among ``rows``, and each one's place (N,) int64 there."""
    place = torch.full((len(dataset.store.images),), -1)
    place[rows] = torch.arange(len(rows))
    image_of_text = place[images_of_texts(dataset)[captions]]
    is_kept = image_of_text >= 0
    return captions[is_kept.numpy()], image_of_text[is_kept]


@torch.no_grad()
def pooled_texts(model: MvlmModel, dataset: JointMaskedDataset, captions: np.ndarray, batch_size: int) -> Tensor:
    """Token 0 of the text encoder, (N, D) float32 on the CPU, of N captions of a split."""
    device = next(model.parameters()).device
    # Captions of like length share a batch: less padding.
    order = torch.from_numpy(dataset.num_tokens_vec(captions)).argsort(stable=True)
    texts = torch.zeros(0)
    for chunk in order.split(batch_size):
        tokens = dataset.tokens(captions[chunk.numpy()]).to(device)
        encoded = model.text_encoder(tokens, tokens.eq(model.padding_idx))[:, 0].float().cpu()
        texts = texts if len(texts) else torch.zeros(len(captions), encoded.size(1))
        texts[chunk] = encoded
    return texts


def untrained_model(arch: str, image_size: int | None, folder: str, seed: int) -> tuple[MvlmModel, Dictionary]:
    """An architecture with its own pre-trained encoders, and nothing else trained; the dictionary of a data-bin."""
    config = MODEL_DATACLASS_REGISTRY[arch]()
    if image_size:
        config.image_size = image_size
    dictionary = load_dictionary(Path(folder))
    dictionary.add_symbol("<mask>")
    torch.manual_seed(seed)
    model = MvlmModel(config, dictionary)
    load_pretrained(model, config, dictionary, Path(folder))
    return model.eval(), dictionary
