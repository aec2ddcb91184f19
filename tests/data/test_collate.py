import numpy as np
import torch

from mvlm_plugin.data.collate import collate
from mvlm_plugin.data.dataset import split_into_groups
from mvlm_plugin.data.replacement import BadPair
from tests.helpers import make_dictionary, make_samples, tiny_config

PAD = make_dictionary().pad()


def test_captions_are_padded_to_the_longest() -> None:
    samples = make_samples(tiny_config(), (2, 5), image_ids=[8, 9])
    inputs = collate(samples, PAD)["net_input"]
    assert inputs["tokens"].shape == inputs["masked_tokens"].shape == (2, 7)
    for name in ("tokens", "masked_tokens"):
        assert inputs[name][0].tolist() == [*getattr(samples[0], name).tolist(), PAD, PAD, PAD]
        assert inputs[name][1].tolist() == getattr(samples[1], name).tolist()
    assert inputs["image_ids"].tolist() == [8, 9]


def test_positions_point_at_the_masked_words_and_targets_are_their_true_ids() -> None:
    samples = make_samples(tiny_config(text_mask_ratio=0.5), (4, 9, 2))
    batch = collate(samples, PAD)
    inputs = batch["net_input"]
    expected = [(row, column) for row, sample in enumerate(samples) for column in np.flatnonzero(sample.chosen)]
    length = inputs["tokens"].size(1)
    assert [divmod(position, length) for position in inputs["mlm_positions"].tolist()] == expected
    assert batch["mlm_targets"].tolist() == [samples[row].tokens[column] for row, column in expected]


def test_images_and_masks_keep_their_order_and_type() -> None:
    samples = make_samples(tiny_config(), (4, 2))
    batch = collate(samples, PAD)
    for row, sample in enumerate(samples):
        assert torch.equal(batch["net_input"]["images"][row], sample.image)
        assert (batch["net_input"]["block_mask"][row].numpy() == sample.blocks).all()
    assert batch["net_input"]["images"].dtype == torch.uint8
    assert batch["net_input"]["block_mask"].dtype == torch.bool


def test_counts() -> None:
    samples = make_samples(tiny_config(), (4, 2, 0))
    bad = (BadPair(1, "truncated"), BadPair(5, "checksum differs"))
    samples[1] = samples[1]._replace(bad=bad, pair=17)
    batch = collate(samples, PAD)
    assert (batch["nsentences"], batch["ntokens"], batch["bad_images"]) == (3, 4 + 2 + 0 + 6, 2)
    assert batch["id"].tolist() == [0, 17, 2]
    assert batch["bad"] == list(bad)


def test_no_samples_give_an_empty_batch() -> None:
    assert collate([], PAD) == {}


def test_groups_are_consecutive_and_a_small_rest_joins_the_last() -> None:
    for count, sizes in {
        5: [5],
        64: [64],
        95: [95],
        96: [64, 32],
        128: [64, 64],
        130: [64, 66],
        170: [64, 64, 42],
        1: [1],
    }.items():
        groups = split_into_groups(np.arange(count), 64)
        assert [len(group) for group in groups] == sizes
        assert np.concatenate(groups).tolist() == list(range(count))
