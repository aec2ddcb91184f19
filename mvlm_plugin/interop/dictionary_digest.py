"""Which dictionary a model was trained with: a checkpoint carries a digest of it, for vocabularies of equal size.

Without it, a data-bin of another tokenizer with as many symbols would give every word the embedding of another one.
"""

import hashlib
from typing import Any

import torch
from torch import nn

ENTRY = "text_encoder.dictionary_digest"
_BYTES = 3  # 24 bits stay exact where weights are read as float32


def digest_of(dictionary: Any) -> int:
    """The symbols of a dictionary in their order -> 0 to 2 ** 24 - 1."""
    symbols = "\n".join(dictionary[number] for number in range(len(dictionary)))
    return int.from_bytes(hashlib.sha256(symbols.encode("utf-8", "surrogatepass")).digest()[:_BYTES], "big")


def save_digest(model: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict[str, Any]) -> None:
    """Hook after state_dict(): add the digest of the model's dictionary, on the device of the weights."""
    state[f"{prefix}{ENTRY}"] = torch.tensor(model.dictionary_digest, device=next(model.parameters()).device)


def check_digest(state: dict[str, Any], model: nn.Module) -> None:
    """Before load_state_dict(): take what save_digest() added out of a state dict; earlier versions added none.

    Raises:
        ValueError: the weights are of another dictionary than the model's.
    """
    digest = state.pop(ENTRY, None)
    if digest is not None and int(digest) != model.dictionary_digest:
        raise ValueError(
            "the checkpoint was trained with another dictionary, whose symbols differ or are in another order: give "
            "the data-bin that it was trained on, or prepare this one again with --tokenizer-from that data-bin"
        )
