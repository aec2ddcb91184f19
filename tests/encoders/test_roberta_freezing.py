import copy

import pytest
import torch

from mvlm_plugin.encoders.roberta import RobertaEncoder
from tests.helpers import make_model, roughen, tiny_config


def make_encoder(dropout: float = 0.0) -> torch.nn.Module:
    return roughen(RobertaEncoder(20, 1, 8, 12, 3, 3, dropout=dropout)).train()


TOKENS = torch.tensor([[0, 5, 6, 2], [0, 7, 2, 1]])


def test_embeddings_and_first_blocks_get_no_gradient_and_the_rest_gets_the_same() -> None:
    whole = make_encoder()
    frozen = copy.deepcopy(whole)
    frozen.freeze(2)
    for encoder in (whole, frozen):
        encoder(TOKENS, TOKENS.eq(1)).square().sum().backward()
    trained = {name for name, parameter in frozen.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in whole.named_parameters() if name.startswith("blocks.2.")}
    assert {name for name, parameter in frozen.named_parameters() if parameter.requires_grad} == trained
    for name in trained:
        torch.testing.assert_close(frozen.get_parameter(name).grad, whole.get_parameter(name).grad)


def test_frozen_blocks_have_no_dropout() -> None:
    encoder = make_encoder(dropout=0.5)
    assert not torch.equal(encoder(TOKENS, TOKENS.eq(1)), encoder(TOKENS, TOKENS.eq(1)))
    encoder.freeze(3)
    assert torch.equal(encoder(TOKENS, TOKENS.eq(1)), encoder(TOKENS, TOKENS.eq(1)))


def test_the_model_freezes_what_its_config_says() -> None:
    model = make_model(tiny_config(frozen_text_layers=3))
    frozen = {name for name, parameter in model.text_encoder.named_parameters() if not parameter.requires_grad}
    assert any(name.startswith("blocks.2.") for name in frozen)
    assert not any(name.startswith("blocks.3.") for name in frozen)
    with pytest.raises(ValueError, match="--frozen-text-layers 5: this text encoder has 4"):
        make_model(tiny_config(frozen_text_layers=5))
