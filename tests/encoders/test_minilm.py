from types import SimpleNamespace

import torch

from mvlm_plugin.encoders.minilm import SentenceEncoder
from mvlm_plugin.encoders.roberta import RobertaEncoder
from mvlm_plugin.registry import TEXT_ENCODERS
from tests.helpers import make_dictionary, roughen

TOKENS = torch.tensor([[0, 5, 6, 2, 1, 1], [0, 7, 8, 9, 10, 2]])
SIZES = {"width": 12, "layers": 2, "heads": 3}


@torch.no_grad()
def test_the_global_token_is_the_mean_and_the_others_are_berts() -> None:
    model = roughen(SentenceEncoder(20, 1, 9, **SIZES)).eval()
    bert = RobertaEncoder(20, 1, 9, **SIZES).eval()
    bert.load_state_dict(model.state_dict())
    output, expected = model(TOKENS, TOKENS.eq(1)), bert(TOKENS, TOKENS.eq(1))
    torch.testing.assert_close(output[0, 0], expected[0, :4].mean(0))
    torch.testing.assert_close(output[1, 0], expected[1].mean(0))
    assert torch.equal(output[:, 1:], expected[:, 1:])


@torch.no_grad()
def test_padding_has_no_influence() -> None:
    model = roughen(SentenceEncoder(20, 1, 9, **SIZES)).eval()
    alone = model(TOKENS[:1, :4], TOKENS[:1, :4].eq(1))
    torch.testing.assert_close(model(TOKENS, TOKENS.eq(1))[0, :4], alone[0], atol=1e-5, rtol=1e-5)


def test_minilm_has_the_sizes_of_its_weights() -> None:
    cfg = SimpleNamespace(max_text_tokens=40, dropout=0.0)
    model = TEXT_ENCODERS.build("minilm_l6", cfg, make_dictionary())
    assert (model.width, len(model.blocks), model.embedding_norm.eps) == (384, 6, 1e-12)
    assert model.position_embedding.shape == (1, 40, 384)
    block = model.blocks[0]
    assert (block.self_attention.heads, block.feed_forward[0].out_features) == (12, 1536)
