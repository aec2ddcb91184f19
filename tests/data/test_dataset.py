import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvlm_plugin.data.collate import Sample
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.dataset import GROUP_SIZE, JointMaskedDataset, PairOptions
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.transforms import default_train_transform
from mvlm_plugin.tasks.joint_masked_vl import JointMaskedVLConfig, JointMaskedVLTask
from tests.helpers import caption_words, colour, make_dictionary, write_databin

OPTIONS = PairOptions(image_size=32, max_tokens=16, image_mask_ratio=0.6, image_mask_block=16, text_mask_ratio=0.3)


def open_split(folder: Path, split: str = "train", seed: int = 1, **options: Any) -> JointMaskedDataset:
    return JointMaskedDataset(
        PairStore(folder, split), make_dictionary(), OPTIONS._replace(**options), seed, train=split == "train"
    )


def image_of(caption: int) -> int:
    """Image i of a test's data-bin has 1 + i % 3 captions."""
    owners = [image for image in range(100) for _ in range(1 + image % 3)]
    return owners[caption]


def assert_pair(sample: Sample, index: int, max_tokens: int = 16) -> None:
    """Image and caption are those of pair ``index`` of the data-bin."""
    dictionary = make_dictionary()
    words = [dictionary.index(f"w{word}") for word in caption_words(index)]
    assert sample.pair == index
    assert sample.image_id == image_of(index)
    assert sample.tokens.tolist() == [dictionary.bos(), *words[: max_tokens - 2], dictionary.eos()]
    assert sample.image.shape == (3, 32, 32)
    assert sample.image.flatten(1).unique(dim=1).flatten().tolist() == list(colour(image_of(index)))


def equal(first: Sample, second: Sample) -> bool:
    return all(
        (torch.equal(a, b) if isinstance(a, torch.Tensor) else np.array_equal(a, b))
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_every_sample_is_the_image_and_caption_of_its_pair(tiny_databin: Path, scale: float) -> None:
    data = open_split(tiny_databin, train_transform=default_train_transform(scale))
    assert len(data) == 48
    for index in range(48):
        assert_pair(data[index], index)


def test_masks_are_within_the_caption_and_the_image(tiny_databin: Path) -> None:
    data = open_split(tiny_databin)
    dictionary = make_dictionary()
    words = {dictionary.index(f"w{i}") for i in range(40)}
    replaced = set()
    for epoch in range(1, 30):
        data.set_epoch(epoch)
        for index in range(0, 48, 5):
            sample = data[index]
            assert sample.chosen.any()
            assert not sample.chosen[[0, -1]].any()
            assert (sample.masked_tokens == sample.tokens)[~sample.chosen].all()
            assert sample.blocks.shape == (2, 2)
            assert sample.blocks.sum() == 2
            replaced |= set(sample.masked_tokens[sample.chosen].tolist())
    assert dictionary.index("<mask>") in replaced
    assert replaced <= words | {dictionary.index("<mask>")}


def test_long_captions_lose_their_last_words_but_not_their_end(tiny_databin: Path) -> None:
    data = open_split(tiny_databin, max_tokens=5)
    for index in range(8):
        assert_pair(data[index], index, max_tokens=5)
        assert data.num_tokens(index) == len(data[index].tokens)


def test_equal_seed_epoch_and_index_give_equal_samples(tiny_databin: Path) -> None:
    first, second = (open_split(tiny_databin, train_transform=default_train_transform(0.5)) for _ in range(2))
    for data in (first, second):
        data.set_epoch(3)
    order = [5, 0, 47, 20]
    expected = {index: first[index] for index in order}
    np.random.seed(9)
    assert all(equal(second[index], expected[index]) for index in reversed(order))


def masks(data: JointMaskedDataset) -> list[list[bool]]:
    samples = [data[index] for index in range(len(data))]
    return [[*sample.chosen.tolist(), *sample.blocks.flatten().tolist()] for sample in samples]


def test_training_masks_differ_by_epoch_and_seed(tiny_databin: Path) -> None:
    data = open_split(tiny_databin)
    first = masks(data)
    data.set_epoch(2)
    assert masks(data) != first
    data.set_epoch(1)
    assert masks(data) == first
    assert masks(open_split(tiny_databin, seed=2)) != first


def test_neighbours_have_different_masks(tiny_databin: Path) -> None:
    data = open_split(tiny_databin, image_size=128)
    assert len({data[index].blocks.tobytes() for index in range(48)}) == 48


def test_validation_masks_depend_on_neither_epoch_nor_seed(tiny_databin: Path) -> None:
    data = open_split(tiny_databin, "valid", train_transform=default_train_transform(0.3))
    first = [data[index] for index in range(48)]
    data.set_epoch(2)
    other = open_split(tiny_databin, "valid", seed=7)
    assert all(equal(data[i], first[i]) and equal(other[i], first[i]) for i in range(48))


def make_task() -> JointMaskedVLTask:
    return JointMaskedVLTask(JointMaskedVLConfig(data="", seed=1), make_dictionary(mask=False))


def batches(
    data: JointMaskedDataset, epoch: int, workers: int, task: JointMaskedVLTask | None = None
) -> list[dict[str, Any]]:
    """A pass over the data as fairseq's trainer makes one."""
    task = task or make_task()
    iterator = task.get_batch_iterator(
        data, max_sentences=10, seed=1, epoch=epoch, num_workers=workers, data_buffer_size=10
    )
    return list(iterator.next_epoch_itr(shuffle=data.train))


def by_pair(passed: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Masked caption and masked blocks of every pair of a pass."""
    found = {}
    for batch in passed:
        inputs = batch["net_input"]
        for row, pair in enumerate(batch["id"].tolist()):
            tokens = inputs["masked_tokens"][row]
            found[pair] = tokens[tokens != 1].tolist() + inputs["block_mask"][row].flatten().int().tolist()
    assert len(found) == sum(batch["nsentences"] for batch in passed)
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_see_every_pair_with_the_masks_of_their_epoch(tiny_databin: Path, workers: int) -> None:
    data = open_split(tiny_databin)
    reference = open_split(tiny_databin)
    task = make_task()
    seen = []
    for epoch in (1, 2):
        found = by_pair(batches(data, epoch, workers, task))
        reference.set_epoch(epoch)
        assert found == by_pair([reference.collater([reference[index] for index in range(48)])])
        seen.append(found)
    assert seen[0] != seen[1]


def test_loader_workers_end_with_their_pass(tiny_databin: Path) -> None:
    batches(open_split(tiny_databin), 1, workers=2)
    deadline = time.monotonic() + 4
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert multiprocessing.active_children() == []


def test_training_batches_are_made_anew_every_epoch(tiny_databin: Path) -> None:
    data, task = open_split(tiny_databin), make_task()
    first, second = ({frozenset(batch["id"].tolist()) for batch in batches(data, epoch, 0, task)} for epoch in (1, 2))
    assert not first & second


def test_training_is_in_a_new_order_every_epoch(tiny_databin: Path) -> None:
    data = open_split(tiny_databin)
    orders = [[pair for batch in batches(data, epoch, 0) for pair in batch["id"].tolist()] for epoch in (1, 2, 1)]
    assert orders[0] == orders[2]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(48))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_validation_pass_never_changes(tiny_databin: Path, workers: int) -> None:
    data = open_split(tiny_databin, "valid")
    first, second = batches(data, 1, workers), batches(data, 5, workers)
    assert [batch["id"].tolist() for batch in first] == [batch["id"].tolist() for batch in second]
    for one, other in zip(first, second, strict=True):
        for name, value in one["net_input"].items():
            assert torch.equal(value, other["net_input"][name])


def test_validation_groups_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    data = open_split(write_databin(tmp_path / "more", images=80, splits=["train", "valid"]), "valid")
    indices = data.ordered_indices()
    groups = data.batch_by_size(indices, max_sentences=5)
    assert [len(group) for group in groups] == [GROUP_SIZE, len(data) - 2 * GROUP_SIZE + GROUP_SIZE]
    assert [g.tolist() for g in data.batch_by_size(indices, max_tokens=100)] == [g.tolist() for g in groups]


def test_training_batches_keep_to_both_limits(tiny_databin: Path) -> None:
    data = open_split(tiny_databin)
    by_count = data.batch_by_size(np.arange(48), max_sentences=10)
    assert [len(batch) for batch in by_count] == [10, 10, 10, 10, 8]
    by_tokens = data.batch_by_size(np.arange(48), max_tokens=30, max_sentences=4)
    assert sorted(np.concatenate(by_tokens).tolist()) == list(range(48))
    for batch in by_tokens:
        assert len(batch) <= 4
        assert len(batch) * max(data.num_tokens(index) for index in batch) <= 30


def damage(folder: Path, images: list[int], split: str = "train") -> None:
    """Overwrite the first bytes of the given images."""
    index = PairStore(folder, split).images
    for image in images:
        record = index.record(image)
        with open(index.container_path(record.container), "r+b") as file:
            file.seek(record.offset)
            file.write(b"spam")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_another_correct_pair_stands_in_for_a_bad_image(
    tiny_databin: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [0, 4, 5, 20]
    damage(tiny_databin, bad, split)
    data = open_split(tiny_databin, split)
    replaced = 0
    for index in range(48):
        sample = data[index]
        if image_of(index) in bad:
            replaced += 1
            assert len(sample.bad) >= 1
            assert sample.bad[0].pair == index
            assert "checksum differs" in sample.bad[0].reason
            assert sample.pair != index
            assert image_of(sample.pair) not in bad
            assert equal(sample, data[index])
        else:
            assert not sample.bad
            assert sample.pair == index
        assert_pair(sample, sample.pair)
    assert replaced == sum(1 + image % 3 for image in bad)
    assert f"pair 0 of {split} left out, another stands in" in caplog.text
    assert data.collater([data[0], data[1]])["bad"] == [*data[0].bad, *data[1].bad]


def test_without_any_good_image_training_stops(tiny_databin: Path) -> None:
    damage(tiny_databin, list(range(24)))
    with pytest.raises(DataBinError, match=r"no readable image among 20 pairs of split train"):
        open_split(tiny_databin)[3]
