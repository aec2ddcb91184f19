"""Linear ITC: one linear layer a modality on pooled, frozen features, trained by the contrastive loss.

On an untrained model's encoders it is the baseline without any cross-modality encoder; on a trained one's a probe of
what they have learnt.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.models import MODEL_DATACLASS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.fraction import captions_of_images, images_of_fraction
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_dictionary
from mvlm_plugin.evaluation.features import images_of_texts, read_images
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.models.mvlm import MvlmModel

_WIDTH = 256
_BATCH = 256
_RATE = 1e-3
_TEMPERATURE = 0.07


class Pooled(NamedTuple):
    """Token 0 of the encoders: of M images (M, D) and N captions (N, D'), float32; image_of_text: (N,) int64."""

    images: Tensor
    texts: Tensor
    image_of_text: Tensor


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


@torch.no_grad()
def pooled_features(model: MvlmModel, share: Share, batch_size: int) -> Pooled:
    """Features of some images and captions; what cannot be read is left out with its captions.

    Args:
        model: in eval mode.
        share: of a split.
        batch_size: images, or captions, a pass.
    """
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
    return Pooled(torch.cat(image_features), pooled_texts(model, dataset, captions, batch_size), image_of_text)


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


class LinearItc(nn.Module):
    """Standardisation by the training features, one linear layer a modality, and a learnt temperature."""

    def __init__(self, train: Pooled) -> None:
        super().__init__()
        self.statistics = [(x.mean(0), x.std(0).clamp_min(1e-6)) for x in (train.images, train.texts)]
        self.layers = nn.ModuleList(nn.Linear(x.size(1), _WIDTH) for x in (train.images, train.texts))
        self.log_scale = nn.Parameter(torch.tensor(1 / _TEMPERATURE).log())

    def embed(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """(M, D) and (N, D') features -> (M, 256) and (N, 256) unit vectors."""
        pairs = zip((images, texts), self.statistics, self.layers, strict=True)
        image, text = (functional.normalize(layer((x - mean) / deviation)) for x, (mean, deviation), layer in pairs)
        return image, text


def train_linear(train: Pooled, seed: int, epochs: int) -> LinearItc:
    """Symmetric InfoNCE, every image once an epoch with one of its captions; AdamW at 1e-3, batches of 256.

    Args:
        train: every image has a caption.
        seed: of initial weights, order and captions.
        epochs: passes over the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LinearItc(train)
        optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
        captions = CaptionsOfImages.of(train.image_of_text, len(train.images))
        with_caption = captions.counts.nonzero().flatten()
        for _ in range(epochs):
            shuffled = with_caption[torch.randperm(len(with_caption))]
            for images, texts in zip(shuffled.split(_BATCH), captions.draw(shuffled).split(_BATCH), strict=True):
                image, text = model.embed(train.images[images], train.texts[texts])
                logits = model.log_scale.exp() * image @ text.T
                target = torch.arange(len(images))
                loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()
