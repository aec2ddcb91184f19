"""Candidates by ITC, re-scored by ITM: nearest neighbours that stream, and the union of all candidate pairs once."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from ..encoders.extras import needing
from ..models.mvlm import MvlmModel
from .features import TextFeatures

# Similarities that are held at a time.
_HELD = 2**24
# In place of a neighbour, for a query that has none.
NOBODY = -1


class Neighbours(NamedTuple):
    """The top k of each of Q queries by similarity, best first; less where the gallery is smaller.

    similarity: (Q, k) float32; rows: (Q, k) int64 of the gallery, NOBODY throughout for a query that was left
    out; next_similarity: (Q,) of the first one that is not among them, -inf where there is none.
    """

    similarity: Tensor
    rows: Tensor
    next_similarity: Tensor

    @property
    def is_found(self) -> Tensor:
        """(Q, k) bool, False = NOBODY."""
        return self.rows != NOBODY

    @property
    def is_ahead(self) -> Tensor:
        """(Q, k) bool, False = ties with what was cut off, and is in the list by luck."""
        return self.similarity > self.next_similarity[:, None]


class Index(Protocol):
    """Exact inner-product search: (Q, E) queries, count -> (Q, count) similarities, best first, and rows."""

    def __call__(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]: ...


def torch_index(gallery: Tensor) -> Index:
    """Search by matrix products of chunks of queries with the whole (M, E) gallery."""
    rows = max(1, _HELD // max(1, len(gallery)))

    def search(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        found = [(chunk @ gallery.T).topk(count, dim=1) for chunk in queries.split(rows)]
        return torch.cat([values for values, _ in found]), torch.cat([indices for _, indices in found])

    return search


def faiss_index(gallery: Tensor) -> Index:
    """Search of an (M, E) gallery by faiss's exact IndexFlatIP; the same up to rounding and the order of ties.

    Raises:
        ImportError: faiss is not installed; the message names the extra.
    """
    with needing("faiss", "--faiss needs"):
        import faiss
    index = faiss.IndexFlatIP(gallery.size(1))
    index.add(gallery.cpu().numpy())

    def search(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        similarity, found = index.search(queries.cpu().numpy(), count)
        return torch.from_numpy(similarity), torch.from_numpy(found)

    return search


def neighbours(
    queries: Tensor,
    gallery: Tensor,
    k: int,
    asked: Tensor | None = None,
    offered: Tensor | None = None,
    make_index: Callable[[Tensor], Index] = torch_index,
) -> Neighbours:
    """The k rows of a gallery that are most similar to each query.

    Args:
        queries: (Q, E); gallery: (M, E); float32 on one device.
        k: at least 1.
        asked: (Q,) bool on the CPU, False = leave this query out; None = all.
        offered: (M,) bool on the CPU, False = not in the gallery; None = all.
        make_index: torch_index or faiss_index.

    Returns:
        Tensors on the CPU.
    """
    asked = torch.ones(len(queries), dtype=torch.bool) if asked is None else asked
    rows = torch.arange(len(gallery)) if offered is None else offered.nonzero().flatten()
    wanted = min(k + 1, len(rows))
    similarity, found = make_index(gallery[rows.to(gallery.device)])(queries[asked.to(queries.device)], wanted)
    similarity, found = similarity.cpu(), rows[found.cpu()]
    kept = min(k, len(rows))
    result = Neighbours(
        torch.full((len(queries), kept), -torch.inf),
        torch.full((len(queries), kept), NOBODY),
        torch.full((len(queries),), -torch.inf),
    )
    result.similarity[asked], result.rows[asked] = similarity[:, :kept], found[:, :kept]
    if wanted > k:
        result.next_similarity[asked] = similarity[:, k]
    return result


class CandidatePairs:
    """The union of the pairs that two tables of neighbours name, each once, image by image.

    Args:
        texts_of_images: neighbours of M images among N texts.
        images_of_texts: neighbours of N texts among M images.

    Attributes:
        images, texts: (U,) int64 rows.
    """

    def __init__(self, texts_of_images: Tensor, images_of_texts: Tensor) -> None:
        self._count = len(images_of_texts)
        keys = [self._keys_by_image(texts_of_images), self._keys_by_text(images_of_texts)]
        self._keys = torch.cat([found[found >= 0] for found in keys]).unique()
        self.images, self.texts = self._keys // self._count, self._keys % self._count

    def __len__(self) -> int:
        return len(self._keys)

    def _keys_by_image(self, texts: Tensor) -> Tensor:
        keys = torch.arange(len(texts))[:, None] * self._count + texts
        return keys.masked_fill(texts == NOBODY, NOBODY)

    def _keys_by_text(self, images: Tensor) -> Tensor:
        keys = images * self._count + torch.arange(len(images))[:, None]
        return keys.masked_fill(images == NOBODY, NOBODY)

    def tables(self, scores: Tensor, texts_of_images: Tensor, images_of_texts: Tensor) -> tuple[Tensor, Tensor]:
        """(U,) scores of the pairs -> scores in the shapes of the two tables; -inf where there is NOBODY."""
        keys = self._keys_by_image(texts_of_images), self._keys_by_text(images_of_texts)
        padded = torch.cat([scores, scores.new_full((1,), -torch.inf)])
        places = [torch.where(found >= 0, torch.searchsorted(self._keys, found), len(scores)) for found in keys]
        return padded[places[0]], padded[places[1]]


@torch.no_grad()
def match_pairs(
    model: MvlmModel,
    images: Tensor,
    texts: TextFeatures,
    image_rows: Tensor,
    text_rows: Tensor,
    pairs_per_chunk: int,
    device: torch.device | str,
) -> Iterator[tuple[Tensor, Tensor]]:
    """ITM's log-odds that pairs match, chunk by chunk: only a chunk's features are on the device.

    Pairs are taken image by image, so that the most expensive part, an image's own tokens, is prepared once for all
    its pairs in a chunk; and within an image by the captions' lengths, so that little is padded.

    Args:
        model: in eval mode, on the device.
        images: (M, P + 1, D) features; texts: of N captions; both on the CPU.
        image_rows, text_rows: (U,) int64, a pair each.
        pairs_per_chunk: at least 1.
        device: of the model.

    Yields:
        (c,) int64 places among the U pairs and (c,) float32 log-odds, on the CPU; every pair once.
    """
    longest = int(texts.lengths.max()) + 1
    order = (image_rows * longest + texts.lengths[text_rows]).argsort(stable=True)
    with tqdm(total=len(order), desc="ITM", unit="pair", unit_scale=True) as bar:
        for places in order.split(pairs_per_chunk):
            image_ids, image_of_pair = image_rows[places].unique(return_inverse=True)
            text_ids, text_of_pair = text_rows[places].unique(return_inverse=True)
            image, (text, padding) = images[image_ids].to(device), texts.padded(text_ids)
            pairs = image_of_pair.to(device), text_of_pair.to(device)
            logits = model.match(image, text.to(device), padding.to(device), *pairs).float()
            yield places, (logits[:, 1] - logits[:, 0]).cpu()
            bar.update(len(places))
