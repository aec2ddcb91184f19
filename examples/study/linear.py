"""Linear ITC: one linear layer a modality on pooled, frozen features, trained by the contrastive loss.

On an untrained model's encoders it is the baseline without any cross-modality encoder; on a trained one's a probe of
what they have learnt.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from mvlm_plugin.evaluation.retrieval import recalls

from .features import CaptionsOfImages, Pooled

_WIDTH = 256
BATCH = 256
_RATE = 1e-3
_TEMPERATURE = 0.07
_FOLDS = 5


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

    @torch.no_grad()
    def embed_held_out(self, pooled: Pooled) -> tuple[Tensor, Tensor]:
        """Embeddings of all images (M, 256) and captions (N, 256), without gradients."""
        return self.embed(pooled.images, pooled.texts)


def train_linear(
    train: Pooled, seed: int, epochs: int, after_epoch: Callable[[LinearItc], None] | None = None
) -> LinearItc:
    """Symmetric InfoNCE, every image once an epoch with one of its captions; AdamW at 1e-3, batches of 256.

    Args:
        train: every image has a caption.
        seed: of initial weights, order and captions.
        epochs: passes over the images.
        after_epoch: called with the layers after each of them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LinearItc(train)
        optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
        captions = CaptionsOfImages.of(train.image_of_text, len(train.images))
        with_caption = captions.counts.nonzero().flatten()
        for _ in range(epochs):
            shuffled = with_caption[torch.randperm(len(with_caption))]
            for images, texts in zip(shuffled.split(BATCH), captions.draw(shuffled).split(BATCH), strict=True):
                image, text = model.embed(train.images[images], train.texts[texts])
                logits = model.log_scale.exp() * image @ text.T
                target = torch.arange(len(images))
                loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if after_epoch is not None:
                after_epoch(model)
    return model.eval()


def cross_validated_epochs(train: Pooled, seed: int, most: int) -> int:
    """The number of epochs after which layers trained on four fifths of the images rank the other fifth best.

    Args:
        train: every image has a caption.
        seed: of the training, and of the choice of the fifths.
        most: epochs to try.

    Returns:
        From 1 to ``most``: the largest sum of recall@1/5/10 both ways, mean over the five fifths.
    """
    order = torch.randperm(len(train.images), generator=torch.Generator().manual_seed(seed))
    sums = torch.zeros(_FOLDS, most, dtype=torch.float64)
    for fold in range(_FOLDS):
        is_held_out = torch.zeros(len(order), dtype=torch.bool)
        is_held_out[order[fold::_FOLDS]] = True
        held_out = train.of(is_held_out)
        found: list[float] = []

        def rank(model: LinearItc, held_out: Pooled = held_out, found: list[float] = found) -> None:
            found.append(sum(recalls(*model.embed_held_out(held_out), held_out.image_of_text).values()))

        train_linear(train.of(~is_held_out), seed, most, rank)
        sums[fold] = torch.tensor(found, dtype=torch.float64)
    return int(sums.mean(0).argmax()) + 1
