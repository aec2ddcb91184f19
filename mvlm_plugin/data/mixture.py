"""Several data sets at once: every training pair comes from one of them, drawn by weight."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset

from .collate import Sample
from .dataset import JointMaskedDataset, cut_into_batches
from .pair_list import PairList


class MixtureDataset(FairseqDataset):
    """Training pairs of several data sets, drawn from (seed, epoch) alone.

    An epoch has as many draws as the data sets have pairs together. Every data set gets its weight's share of them,
    exact to one draw. Its own pairs come in a random order, each once before any comes again, across epochs: a small
    set repeats, with new masks each time, and a large one is gone through before it starts again.

    Args:
        datasets: training sets with the same dictionary.
        weights: of each data set, above 0; only their ratios count.
        names: of each, for counting; data sets may share one.
        seed: of order and choice.

    Raises:
        ValueError: not as many weights and names as data sets.
    """

    train = True
    # As in JointMaskedDataset: workers must know the epoch.
    can_reuse_epoch_itr_across_epochs = False

    def __init__(
        self, datasets: Sequence[JointMaskedDataset], weights: Sequence[float], names: Sequence[str], seed: int
    ) -> None:
        if not len(datasets) == len(weights) == len(names):
            raise ValueError(f"{len(datasets)} data sets, {len(weights)} weights and {len(names)} names")
        self.datasets = datasets
        self.names = names
        self.seed = seed
        self.draws = share_out(sum(len(dataset) for dataset in datasets), weights)
        # Every image and pair of a mixture has a number of its own: pairs of one image are no negatives of one another.
        self._first_image = np.cumsum([0, *(len(dataset.store.images) for dataset in datasets)])
        self._first_pair = np.cumsum([0, *(len(dataset.store) for dataset in datasets)])
        self._epoch = 0
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Decide the source, the pair and its pass of every draw of an epoch."""
        if epoch == self._epoch:
            return
        self._epoch = epoch
        self._sources = np.repeat(np.arange(len(self.datasets), dtype=np.uint16), self.draws)
        np.random.default_rng([self.seed, epoch]).shuffle(self._sources)
        self._pairs = np.empty(len(self), dtype=np.int64)
        self._passes = np.empty(len(self), dtype=np.int32)
        for source, (dataset, draws) in enumerate(zip(self.datasets, self.draws, strict=True)):
            drawn = np.flatnonzero(self._sources == source)
            done = 0
            while done < draws:
                number, place = divmod((epoch - 1) * draws + done, len(dataset))
                order = np.random.default_rng([self.seed, source, number]).permutation(len(dataset))
                here = drawn[done : done + len(dataset) - place]
                self._pairs[here] = order[place : place + len(here)]
                self._passes[here] = number
                done += len(here)

    def __len__(self) -> int:
        return sum(self.draws)

    def __getitem__(self, index: int) -> Sample:
        """Sample of draw ``index`` of the epoch; see JointMaskedDataset.draw()."""
        source = int(self._sources[index])
        # Passes count from 1, as epochs do.
        sample = self.datasets[source].draw(int(self._pairs[index]), int(self._passes[index]) + 1)
        first = int(self._first_pair[source])
        return sample._replace(
            pair=sample.pair + first,
            bad=tuple(bad._replace(pair=bad.pair + first) for bad in sample.bad),
            image_id=sample.image_id + int(self._first_image[source]),
            source=source,
        )

    def find_pairs(self, ids: list[int]) -> list[PairList]:
        """Where pairs lie, whose numbers are those of a batch's ``id``; a list for each data-bin that has some."""
        numbers = np.asarray(ids, dtype=np.int64)
        sources = np.searchsorted(self._first_pair, numbers, side="right") - 1
        return [
            found
            for source in np.unique(sources)
            for found in self.datasets[source].find_pairs(
                (numbers[sources == source] - self._first_pair[source]).tolist()
            )
        ]

    def collater(self, samples: list[Sample]) -> dict[str, Any]:
        """Samples -> batch, see collate(); with ``source_pairs``, the number of pairs by name, 0 included."""
        batch = self.datasets[0].collater(samples)
        if batch:
            counts = Counter(self.names[sample.source] for sample in samples)
            batch["source_pairs"] = {name: counts[name] for name in self.names}
        return batch

    def ordered_indices(self) -> np.ndarray:
        """The draws in their order, which is new every epoch."""
        return np.arange(len(self))

    def batch_by_size(
        self,
        indices: np.ndarray,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[np.ndarray]:
        """Batches of max_sentences pairs, fewer where they would exceed max_tokens."""
        return cut_into_batches(self, indices, max_tokens, max_sentences, required_batch_size_multiple)

    def num_tokens(self, index: int) -> int:
        """Tokens of the caption of draw ``index``, <s> and </s> counted."""
        return self.datasets[self._sources[index]].num_tokens(int(self._pairs[index]))

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """(n,) draws -> (n,) int64 tokens; see num_tokens()."""
        tokens = np.empty(len(indices), dtype=np.int64)
        for source, dataset in enumerate(self.datasets):
            here = np.flatnonzero(self._sources[indices] == source)
            tokens[here] = dataset.num_tokens_vec(self._pairs[indices[here]])
        return tokens

    def size(self, index: int) -> int:
        """As num_tokens: what fairseq filters by."""
        return self.num_tokens(index)


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to ``total``, in proportion to the weights, by largest remainder."""
    exact = total * np.asarray(weights, dtype=np.float64) / np.sum(weights)
    shares = np.floor(exact).astype(np.int64)
    largest = np.argsort(shares - exact, kind="stable")
    shares[largest[: total - int(shares.sum())]] += 1
    return shares.tolist()


def parse_weights(text: str) -> list[float]:
    """``"3,1"`` -> [3.0, 1.0]; an empty text gives no weights.

    Raises:
        ValueError: not a list of positive numbers.
    """
    try:
        weights = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        weights = [0.0]
    if not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"--dataset-weights {text!r} must be numbers above 0, one a data-bin, as in 3,1")
    return weights


def unique_names(folders: Sequence[Path]) -> list[str]:
    """Base names of folders; one that occurs again gets a number: a/coco, b/coco -> coco, coco_2."""
    names: list[str] = []
    for folder in folders:
        base = folder.resolve().name
        number = 1
        name = base
        while name in names:
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names
