from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.mixture import MixtureDataset, parse_weights, share_out, unique_names
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.losses.contrastive import contrastive_losses
from tests.helpers import colour, make_dictionary, write_databin

OPTIONS = PairOptions(image_size=32, max_tokens=16, image_mask_ratio=0.6, image_mask_block=16, text_mask_ratio=0.3)
SIZES = (48, 12)  # captions
IMAGES = (24, 6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("mixture")
    return [write_databin(root / f"d{i}", images=images, splits=["train"]) for i, images in enumerate(IMAGES)]


def make_mixture(folders: list[Path], weights: tuple[float, ...] = (3, 1), seed: int = 1) -> MixtureDataset:
    datasets = [
        JointMaskedDataset(PairStore(folder, "train"), make_dictionary(), OPTIONS, seed, train=True)
        for folder in folders
    ]
    return MixtureDataset(datasets, weights, ["large", "small"], seed)


def drawn(data: MixtureDataset, epoch: int) -> list[tuple[int, int]]:
    """Source and pair of every draw of an epoch, in order."""
    data.set_epoch(epoch)
    samples = [data[int(index)] for index in data.ordered_indices()]
    return [(sample.source, sample.pair) for sample in samples]


@pytest.mark.parametrize(("weights", "counts"), [((3, 1), (45, 15)), ((1, 1), (30, 30)), ((0.2, 1.8), (6, 54))])
def test_every_source_gets_its_weights_share(
    folders: list[Path], weights: tuple[float, float], counts: tuple[int, int]
) -> None:
    data = make_mixture(folders, weights)
    assert len(data) == sum(SIZES)
    for epoch in (1, 2):
        assert Counter(source for source, _ in drawn(data, epoch)) == dict(enumerate(counts))


def test_pairs_come_once_each_before_any_comes_again(folders: list[Path]) -> None:
    data = make_mixture(folders, (1, 1))
    draws = [draw for epoch in range(1, 9) for draw in drawn(data, epoch)]
    for source, first in ((0, 0), (1, 48)):
        pairs = [pair - first for of, pair in draws if of == source]
        passes = [pairs[start : start + SIZES[source]] for start in range(0, len(pairs), SIZES[source])]
        assert len(pairs) == 240
        assert all(sorted(one) == list(range(SIZES[source])) for one in passes[:-1])
        assert passes[0] != passes[1]


def test_seed_and_epoch_alone_decide(folders: list[Path]) -> None:
    data, again = make_mixture(folders), make_mixture(folders)
    third = drawn(data, 3)
    drawn(again, 1)
    assert drawn(again, 3) == third
    assert drawn(again, 2) != third
    assert drawn(make_mixture(folders, seed=2), 3) != third


def test_sources_are_mixed_within_an_epoch(folders: list[Path]) -> None:
    sources = np.array([source for source, _ in drawn(make_mixture(folders, (1, 1)), 1)])
    assert 20 < (np.diff(sources) != 0).sum() < 40


def test_a_pair_that_comes_again_has_other_masks(folders: list[Path]) -> None:
    data = make_mixture(folders, (1, 9))
    masks: dict[int, list[bytes]] = {}
    for index in range(len(data)):
        sample = data[index]
        masks.setdefault(sample.pair, []).append(sample.chosen.tobytes() + sample.blocks.tobytes())
    repeated = [found for pair, found in masks.items() if pair >= 48]
    assert {len(found) for found in repeated} == {4, 5}
    assert all(len(set(found)) > 1 for found in repeated)


def test_images_of_different_sources_are_different_images(folders: list[Path]) -> None:
    data = make_mixture(folders)
    for index in range(len(data)):
        sample = data[index]
        image = sample.image_id - (0, IMAGES[0])[sample.source]
        assert 0 <= image < IMAGES[sample.source]
        assert sample.image[:, 0, 0].tolist() == list(colour(image))


def test_equal_numbers_of_two_sources_are_negatives(folders: list[Path]) -> None:
    data = make_mixture(folders, (1, 1))
    first = {(s.source, s.image_id - (0, IMAGES[0])[s.source]): s for s in (data[i] for i in range(len(data)))}
    shared = next(image for image in range(6) if (0, image) in first and (1, image) in first)
    batch = data.collater([first[0, shared], first[1, shared]])
    embeddings = torch.eye(2)
    result = contrastive_losses(embeddings, embeddings, torch.tensor(1.0), batch["net_input"]["image_ids"])
    assert (result.loss > 0.1).all()  # were they of one image, nothing would be left to tell apart


def test_batches_count_the_pairs_of_every_source(folders: list[Path]) -> None:
    data = make_mixture(folders)
    samples = [data[index] for index in range(20)]
    counts = Counter(("large", "small")[sample.source] for sample in samples)
    assert data.collater(samples)["source_pairs"] == counts
    large = [sample for sample in samples if sample.source == 0]
    assert data.collater(large)["source_pairs"] == {"large": counts["large"], "small": 0}
    assert data.collater([]) == {}


def test_batches_keep_to_both_limits(folders: list[Path]) -> None:
    data = make_mixture(folders)
    indices = data.ordered_indices()
    assert data.num_tokens_vec(indices).tolist() == [len(data[int(index)].tokens) for index in indices]
    assert [data.size(int(index)) for index in indices] == data.num_tokens_vec(indices).tolist()
    assert [len(batch) for batch in data.batch_by_size(indices, max_sentences=25)] == [25, 25, 10]
    batches = data.batch_by_size(indices, max_tokens=30, max_sentences=4)
    assert sorted(np.concatenate(batches).tolist()) == list(range(60))
    assert all(len(batch) * max(data.num_tokens(index) for index in batch) <= 30 for batch in batches)


def test_lists_of_other_lengths_are_refused(folders: list[Path]) -> None:
    with pytest.raises(ValueError, match="2 data sets, 3 weights and 2 names"):
        make_mixture(folders, (1, 1, 1))


@pytest.mark.parametrize(("total", "weights"), [(10, [1, 1, 1]), (7, [1e-9, 1e9]), (0, [1, 2]), (1, [0.5, 0.5])])
def test_shares_add_up_and_are_exact_to_one(total: int, weights: list[float]) -> None:
    shares = share_out(total, weights)
    assert sum(shares) == total
    assert all(abs(share - total * weight / sum(weights)) < 1 for share, weight in zip(shares, weights, strict=True))


def test_weights_are_a_list_of_positive_numbers() -> None:
    assert parse_weights("3, 0.5") == [3.0, 0.5]
    assert parse_weights("") == []
    for text in ("0,1", "-1", "a", "1,,2", "nan,1", "inf,1", ","):
        with pytest.raises(ValueError, match=r"--dataset-weights .* must be numbers above 0"):
            parse_weights(text)


def test_names_are_base_names_made_unique(tmp_path: Path) -> None:
    folders = [Path("a/coco"), Path("b/coco/"), Path("sbu"), Path("coco_2"), tmp_path / "x" / ".."]
    assert unique_names(folders) == ["coco", "coco_2", "sbu", "coco_2_2", tmp_path.name]
