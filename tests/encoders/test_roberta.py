import torch

from mvlm_plugin.encoders.roberta import RobertaEncoder
from tests.helpers import roughen


@torch.no_grad()
def test_padding_has_no_influence() -> None:
    model = roughen(RobertaEncoder(20, 1, 9, width=12, layers=2, heads=3)).eval()
    tokens = torch.tensor([[0, 5, 6, 2, 1, 1], [0, 7, 8, 9, 10, 2]])
    whole = model(tokens, tokens.eq(1))
    torch.testing.assert_close(whole[0, :4], model(tokens[:1, :4], tokens[:1, :4].eq(1))[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_order_of_words_matters() -> None:
    model = roughen(RobertaEncoder(20, 1, 9, width=12, layers=2, heads=3)).eval()
    tokens = torch.tensor([[0, 5, 6, 2], [0, 6, 5, 2]])
    first, second = model(tokens, tokens.eq(1))
    assert not torch.allclose(first[0], second[0])
