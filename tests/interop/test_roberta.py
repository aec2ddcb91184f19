from argparse import Namespace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel

from mvlm_plugin.encoders.roberta import RobertaEncoder
from mvlm_plugin.interop import from_fairseq_roberta, from_hf_roberta
from tests.helpers import make_dictionary, roughen

POSITIONS = 12
TOKENS = torch.tensor([[0, 5, 9, 8, 30, 12, 2], [0, 7, 2, 1, 1, 1, 1], [0, 44, 6, 6, 2, 1, 1]])
SEEN = TOKENS != 1


def ours(dictionary: Dictionary, eps: float = 1e-5) -> RobertaEncoder:
    return RobertaEncoder(len(dictionary), dictionary.pad(), POSITIONS, width=24, layers=3, heads=4, eps=eps).eval()


def hf_reference(transformers: ModuleType, dictionary: Dictionary, eps: float) -> torch.nn.Module:
    config = transformers.RobertaConfig(
        vocab_size=len(dictionary),
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=POSITIONS + 2,
        type_vocab_size=1,
        pad_token_id=1,
        layer_norm_eps=eps,
    )
    return roughen(transformers.RobertaModel(config)).eval()


def fairseq_reference(dictionary: Dictionary) -> RobertaModel:
    args = Namespace(
        encoder_layers=3,
        encoder_embed_dim=24,
        encoder_ffn_embed_dim=96,
        encoder_attention_heads=4,
        max_positions=POSITIONS,
        tokens_per_sample=POSITIONS,
    )
    return roughen(RobertaModel.build_model(args, SimpleNamespace(source_dictionary=dictionary))).eval()


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_the_same_weights_give_the_outputs_of_transformers(transformers: ModuleType, eps: float) -> None:
    dictionary = make_dictionary()
    theirs, model = hf_reference(transformers, dictionary, eps), ours(dictionary, eps)
    model.load_state_dict(from_hf_roberta(theirs.state_dict()))
    with torch.no_grad():
        expected = theirs(TOKENS, attention_mask=SEEN.long()).last_hidden_state
        torch.testing.assert_close(model(TOKENS, ~SEEN)[SEEN], expected[SEEN], atol=1e-5, rtol=1e-5)


def test_the_same_weights_give_the_outputs_of_fairseq() -> None:
    dictionary = make_dictionary()
    theirs, model = fairseq_reference(dictionary), ours(dictionary)
    model.load_state_dict(from_fairseq_roberta(theirs.state_dict()))
    with torch.no_grad():
        expected, _ = theirs(TOKENS, features_only=True)
        torch.testing.assert_close(model(TOKENS, ~SEEN)[SEEN], expected[SEEN], atol=1e-5, rtol=1e-5)


def test_heads_are_left_behind(transformers: ModuleType) -> None:
    dictionary = make_dictionary()
    state = hf_reference(transformers, dictionary, 1e-5).state_dict()
    whole = {f"roberta.{key}": tensor for key, tensor in state.items()}
    whole |= {"lm_head.bias": torch.zeros(1), "lm_head.decoder.weight": torch.zeros(1)}
    whole["roberta.embeddings.position_ids"] = torch.arange(5)
    expected, actual = from_hf_roberta(state), from_hf_roberta(whole)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_fairseqs_encoder_alone_converts_alike() -> None:
    model = fairseq_reference(make_dictionary())
    expected = from_fairseq_roberta(model.state_dict())
    for part in (model.encoder, model.encoder.sentence_encoder):
        actual = from_fairseq_roberta(part.state_dict())
        assert actual.keys() == expected.keys()


def test_keys_without_a_counterpart_are_named_in_full(transformers: ModuleType) -> None:
    dictionary = make_dictionary()
    theirs = {"encoder.layer.0.crossattention.self.query.weight": torch.zeros(1), "spam": torch.zeros(1)}
    state = hf_reference(transformers, dictionary, 1e-5).state_dict()
    with pytest.raises(ValueError, match=r"encoder\.layer\.0\.crossattention\.self\.query\.weight, spam$"):
        from_hf_roberta({**state, **theirs})
    with pytest.raises(ValueError, match=r"of a fairseq RobertaModel; .*embeddings\.word_embeddings\.weight"):
        from_fairseq_roberta(state)


def test_weights_without_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="no position embedding"):
        from_hf_roberta({"embeddings.word_embeddings.weight": torch.zeros(4, 2)})
