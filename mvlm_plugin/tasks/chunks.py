"""Batches cut into chunks of a few pairs."""

from typing import Any

import torch


def split_batch(sample: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """A batch as collate() makes it -> its chunks of ``size`` pairs, the last one maybe smaller; same caption length.

    The host waits for the device once, to know how many masked words each chunk has.
    """
    inputs = sample["net_input"]
    batch, length = inputs["tokens"].shape
    starts = list(range(0, batch, size))
    first_positions = torch.tensor([*starts, batch], device=inputs["tokens"].device) * length
    words = torch.searchsorted(inputs["mlm_positions"], first_positions).tolist()
    chunks = []
    for number, start in enumerate(starts):
        here = slice(words[number], words[number + 1])
        part = {name: value[start : start + size] for name, value in inputs.items()}
        part["mlm_positions"] = inputs["mlm_positions"][here] - start * length
        counted = {"mlm_targets": sample["mlm_targets"][here], "nsentences": len(part["tokens"])}
        chunks.append({"net_input": part, **counted})
    return chunks
