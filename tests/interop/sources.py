"""Small pre-trained sources of the sizes of vit_tiny_patch8 and roberta_tiny, as their own programs save them."""

from argparse import Namespace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel
from torch import Tensor

from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_dictionary, make_model, roughen, tiny_config

POSITIONS = 40


def hf_vit(transformers: ModuleType, image_size: int = 32, **options: object) -> torch.nn.Module:
    """A ViTModel that fits vit_tiny_patch8."""
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    config = transformers.ViTConfig(**{**sizes, "image_size": image_size, "patch_size": 8, **options})
    return roughen(transformers.ViTModel(config, add_pooling_layer=False), 0.1).eval()


def hf_text(transformers: ModuleType, kind: str, vocabulary: int, **options: object) -> torch.nn.Module:
    """A RobertaForMaskedLM or BertForMaskedLM that fits roberta_tiny."""
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    types = {"Roberta": {"type_vocab_size": 1, "pad_token_id": 1}, "Bert": {"type_vocab_size": 2}}[kind]
    config = getattr(transformers, f"{kind}Config")(
        **{**sizes, **types, "vocab_size": vocabulary, "max_position_embeddings": POSITIONS + 2, **options}
    )
    return roughen(getattr(transformers, f"{kind}ForMaskedLM")(config), 0.1).eval()


def save_fairseq_roberta(folder: Path, dictionary: Dictionary | None = None, **options: int) -> RobertaModel:
    """A RobertaModel that fits roberta_tiny, saved as folder/model.pt with its dict.txt; returns the model."""
    dictionary = dictionary or make_dictionary()
    sizes = {
        "encoder_layers": 4, "encoder_embed_dim": 128, "encoder_ffn_embed_dim": 512, "encoder_attention_heads": 4,
        "max_positions": POSITIONS, "tokens_per_sample": POSITIONS,
    }  # fmt: skip
    args = Namespace(**{**sizes, **options})
    model = roughen(RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary)), 0.1).eval()
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"args": args, "model": model.state_dict(), "extra_state": {"epoch": 3}}, folder / "model.pt")
    words = [symbol for symbol in dictionary.symbols[dictionary.nspecial :] if symbol != "<mask>"]
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
    return model


def loaded(tmp_path: Path, **options: Any) -> tuple[MvlmModel, dict[str, dict[str, str | int]]]:
    """A tiny model after load_pretrained, and the records."""
    cfg = tiny_config(**options)
    model = make_model(cfg).eval()
    return model, load_pretrained(model, cfg, make_dictionary(), tmp_path)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)
