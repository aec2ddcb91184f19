import torch

from mvlm_plugin.heads.pair_classifier import PairClassifierHead
from tests.helpers import roughen


def test_logits_of_a_text_depend_on_all_its_images_and_on_no_other_text() -> None:
    head = roughen(PairClassifierHead(8, 3, 5)).eval()
    image, text = torch.randn(2 * 3, 8), torch.randn(2 * 3, 8)
    logits = head(image, text)
    assert logits.shape == (2, 5)
    for row in range(6):
        change = (torch.arange(6) == row)[:, None]
        for changed in (head(image + change, text), head(image, text + change)):
            assert torch.isclose(changed, logits).all(dim=1).tolist() == [row >= 3, row < 3]


def test_images_are_told_apart_by_their_place() -> None:
    head = roughen(PairClassifierHead(8, 2, 3)).eval()
    image, text = torch.randn(2, 8), torch.randn(1, 8).expand(2, 8)
    assert not torch.allclose(head(image, text), head(image.flip(0), text))


def test_features_are_the_product_and_both_tokens() -> None:
    head = PairClassifierHead(4, 1, 2).eval()
    with torch.no_grad():
        head.layers[0].weight.zero_()
        head.layers[0].weight[0, :4] = 1.0  # reads the product alone
    image, text = torch.randn(3, 4), torch.randn(3, 4)
    # The same product from other tokens gives the same logits.
    torch.testing.assert_close(head(image, text), head(2 * image, text / 2))
