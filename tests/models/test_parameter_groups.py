"""Which parameters have a rate of their own, and which are decayed."""

import pytest
import torch
from fairseq.models import MODEL_REGISTRY
from torch import nn

from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.models.parameter_groups import decays, tag_of, tag_parameters
from tests.helpers import make_dictionary, make_model, tiny_config

# Modules whose ``weight`` is a matrix or a kernel: the only ones that are decayed.
DECAYED = (nn.Linear, nn.Embedding, nn.Conv2d)


def build(architecture: str) -> MvlmModel:
    """The architecture at its full size, without memory for its weights."""
    with torch.device("meta"):
        return MvlmModel(MODEL_REGISTRY[architecture].__dataclass(), make_dictionary())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_matrices_and_kernels_are_decayed(architecture: str) -> None:
    model = build(architecture)
    weights = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, DECAYED) and name}
    tags = {name: tag_of(parameter) for name, parameter in model.named_parameters()}
    assert {name for name, tag in tags.items() if tag.decay} == weights & tags.keys()
    spared = {name.rpartition(".")[2] for name, tag in tags.items() if not tag.decay}
    assert {"bias", "log_temperature", "mask_token", "position_embedding"} <= spared


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encoders_are_parts_of_their_own(architecture: str) -> None:
    model = build(architecture)
    for part in ("image_encoder", "text_encoder"):
        assert {tag_of(parameter).part for parameter in getattr(model, part).parameters()} == {part}
    for module in (model.fusion, model.image_decoder, model.contrastive, model.matching, model.mlm_head):
        assert {tag_of(parameter).part for parameter in module.parameters()} == {"main"}
    assert {tag_of(parameter).name for parameter in model.parameters()} == {
        name for name, _ in model.named_parameters()
    }


@pytest.mark.parametrize(
    ("name", "decay"),
    [
        ("image_encoder.pos_embed", False),
        ("image_encoder.cls_token", False),
        ("image_encoder.register_tokens", False),
        ("image_encoder.layers.0.attn.relative_position_bias_table", False),
        ("text_encoder.embeddings.position_embeddings.weight", False),
        ("text_encoder.embed_positions.weight", False),
        ("image_encoder.positional_embedding", False),
        ("text_encoder.embeddings.word_embeddings.weight", True),
        ("text_encoder.token_embedding.weight", True),
        ("image_encoder.tokens_to_token.weight", True),
        ("image_encoder.composition.weight", True),
    ],
)
def test_names_of_other_libraries(name: str, decay: bool) -> None:
    assert decays(name, nn.Parameter(torch.zeros(4, 4))) is decay
    assert decays(name, nn.Parameter(torch.zeros(4))) is False


def test_a_component_may_decide_for_itself() -> None:
    model = make_model(tiny_config())
    weight = model.fusion.image_stream.blocks[0].self_attention.query.weight
    weight.mvlm_decay = False
    tag_parameters(model)
    assert not tag_of(weight).decay
    assert tag_of(model.fusion.image_stream.blocks[0].self_attention.output.weight).decay


def test_a_parameter_that_no_model_tagged_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\) has no part.*--autocast bf16"):
        tag_of(nn.Parameter(torch.zeros(2, 3)))
