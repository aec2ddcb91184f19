import torch
from torch import Tensor

from mvlm_plugin.heads.pair_classifier import PairClassifierHead
from tests.helpers import roughen


def inputs(rows: int) -> list[Tensor]:
    """Tokens of both streams and unit vectors of both modalities."""
    tokens, vectors = torch.randn(2, rows, 8), torch.randn(2, rows, 6)
    return [*tokens, *torch.nn.functional.normalize(vectors, dim=-1)]


def test_logits_of_a_text_depend_on_all_its_images_and_on_no_other_text() -> None:
    head = roughen(PairClassifierHead(8, 6, 3, 5)).eval()
    given = inputs(2 * 3)
    logits = head(*given)
    assert logits.shape == (2, 5)
    for row in range(6):
        change = (torch.arange(6) == row)[:, None]
        for place in range(4):
            changed = head(*(value + change if i == place else value for i, value in enumerate(given)))
            assert torch.isclose(changed, logits).all(dim=1).tolist() == [row >= 3, row < 3]


def test_images_are_told_apart_by_their_place() -> None:
    head = roughen(PairClassifierHead(8, 6, 2, 3)).eval()
    image, text, image_vector, text_vector = inputs(2)
    logits = head(image, text, image_vector, text_vector)
    assert not torch.allclose(logits, head(image.flip(0), text, image_vector, text_vector))
    assert not torch.allclose(logits, head(image, text, image_vector.flip(0), text_vector))


def _head_that_reads(first: int, last: int) -> PairClassifierHead:
    """Of its features only those from ``first`` to ``last``, summed."""
    head = PairClassifierHead(8, 6, 1, 2).eval()
    with torch.no_grad():
        head.layers[0].weight.zero_()
        head.layers[0].weight[0, first:last] = 1.0
    return head


def test_first_come_products_of_tokens() -> None:
    head = _head_that_reads(0, 8)
    image, text, image_vector, text_vector = inputs(3)
    # The same product from other tokens gives the same logits.
    expected = head(image, text, image_vector, text_vector)
    torch.testing.assert_close(head(2 * image, text / 2, image_vector, text_vector), expected)
    assert not torch.allclose(head(2 * image, text, image_vector, text_vector), expected)


def test_last_come_products_of_vectors_which_sum_to_the_similarity() -> None:
    head = _head_that_reads(24, 30)
    image, text, image_vector, text_vector = inputs(3)
    read = []
    head.layers[0].register_forward_hook(lambda *call: read.append(call[2][:, 0] - head.layers[0].bias[0]))
    head(image, text, image_vector, text_vector)
    torch.testing.assert_close(read[0], 6 * (image_vector * text_vector).sum(dim=1))
