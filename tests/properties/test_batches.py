"""Batches hold their samples unchanged, in order, and nothing of what pads them is predicted."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvlm_plugin.data.collate import Sample, collate, pad_rows
from mvlm_plugin.data.replacement import BadPair
from mvlm_plugin.masking.text import mask_text

PAD, MASK, WORDS = 1, 44, (4, 44)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9), max_size=8), st.integers(-5, 5))
def test_padded_rows(rows: list[list[int]], value: int) -> None:
    padded = pad_rows([np.array(row, dtype=np.int64) for row in rows], value)
    longest = max(map(len, rows), default=0)
    assert padded.shape == (len(rows), longest)
    assert padded.dtype == torch.int64
    assert padded.tolist() == [row + [value] * (longest - len(row)) for row in rows]


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    """Samples as the data set makes them: captions of 0 words to many, some of them masked."""
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    made = []
    for words in lengths:
        tokens = np.concatenate([[0], rng.integers(*WORDS, size=words), [2]]).astype(np.int64)
        masked, chosen = mask_text(tokens, draw(st.floats(0.01, 0.99)), MASK, WORDS, rng)
        image = torch.from_numpy(rng.integers(0, 256, (3, 4, 4), dtype=np.uint8))
        blocks = rng.random((2, 2)) < 0.5
        pair, image_id = draw(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)))
        bad = tuple(BadPair(number, "damaged") for number in range(draw(st.integers(0, 3))))
        made.append(Sample(pair, image_id, image, tokens, masked, chosen, blocks, bad))
    return made


@given(samples())
def test_batches(batch: list[Sample]) -> None:
    made = collate(batch, PAD)
    inputs = made["net_input"]
    length = max(len(sample.tokens) for sample in batch)
    assert made["id"].tolist() == [sample.pair for sample in batch]
    assert inputs["image_ids"].tolist() == [sample.image_id for sample in batch]
    assert torch.equal(inputs["images"], torch.stack([sample.image for sample in batch]))
    assert inputs["images"].dtype == torch.uint8
    assert inputs["block_mask"].tolist() == [sample.blocks.tolist() for sample in batch]
    assert inputs["block_mask"].dtype == torch.bool
    for name in ("tokens", "masked_tokens"):
        rows = [getattr(sample, name).tolist() for sample in batch]
        assert inputs[name].tolist() == [row + [PAD] * (length - len(row)) for row in rows]
        assert inputs[name].dtype == torch.int64
    expected = [
        (row * length + column, int(sample.tokens[column]))
        for row, sample in enumerate(batch)
        for column in np.flatnonzero(sample.chosen).tolist()
    ]
    found = list(zip(inputs["mlm_positions"].tolist(), made["mlm_targets"].tolist(), strict=True))
    assert found == expected
    assert not {0, 2, PAD} & {target for _, target in found}
    assert made["bad"] == [pair for sample in batch for pair in sample.bad]
    assert made["bad_images"] == len(made["bad"])
    assert (made["nsentences"], made["ntokens"]) == (len(batch), sum(len(sample.tokens) for sample in batch))
