import pytest
import torch

from mvlm_plugin.evaluation import retrieval
from mvlm_plugin.evaluation.retrieval import (
    NO_IMAGE,
    NOT_FOUND,
    image_to_text_ranks,
    list_ranks,
    recall_estimates,
    recalls,
    text_to_image_ranks,
)


@pytest.fixture(params=[1024, 1, 2], ids=lambda rows: f"chunk of {rows}")
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", request.param)


# Images are the axes, so a text's vector lists its similarity to each image.
IMAGES = torch.eye(3)
TEXTS = torch.tensor(
    [
        [0.9, 0.1, 0.0],  # of image 0, found first
        [0.5, 0.2, 0.8],  # of image 0, one image before it
        [0.7, 0.3, 0.6],  # of image 1, two before it
        [0.1, 0.0, 0.4],  # of image 2, found first
    ]
)
IMAGE_OF_TEXT = torch.tensor([0, 0, 1, 2])


@pytest.mark.usefixtures("_chunk")
def test_ranks_by_hand() -> None:
    assert text_to_image_ranks(IMAGES, TEXTS, IMAGE_OF_TEXT).tolist() == [0, 1, 2, 0]
    # image 0: best own 0.9, none above; image 1: own 0.3, none of 0.1, 0.2, 0.0; image 2: own 0.4, above it 0.8 and 0.6
    assert image_to_text_ranks(IMAGES, TEXTS, IMAGE_OF_TEXT).tolist() == [0, 0, 2]


@pytest.mark.usefixtures("_chunk")
def test_recalls_by_hand() -> None:
    figures = recalls(IMAGES, TEXTS, IMAGE_OF_TEXT, ks=(1, 2, 3))
    expected = {"t2i_r1": 2 / 4, "t2i_r2": 3 / 4, "t2i_r3": 1.0, "i2t_r1": 2 / 3, "i2t_r2": 2 / 3, "i2t_r3": 1.0}
    assert figures == pytest.approx(expected)


@pytest.mark.usefixtures("_chunk")
def test_any_own_caption_counts_and_the_others_do_not_stand_in_its_way() -> None:
    texts = torch.tensor([[0.9, 0.0], [0.8, 0.0], [0.7, 0.5]])
    # image 0 has texts 0 and 2: text 1 comes between them, but the best own text is first.
    assert image_to_text_ranks(torch.eye(2), texts, torch.tensor([0, 1, 0])).tolist() == [0, 2]


@pytest.mark.usefixtures("_chunk")
def test_equal_vectors_find_nothing() -> None:
    images, texts = torch.ones(4, 2), torch.ones(4, 2)
    figures = recalls(images, texts, torch.arange(4), ks=(1, 3, 4))
    assert figures == {"i2t_r1": 0.0, "t2i_r1": 0.0, "i2t_r3": 0.0, "t2i_r3": 0.0, "i2t_r4": 1.0, "t2i_r4": 1.0}


@pytest.mark.usefixtures("_chunk")
def test_an_image_without_a_text_is_a_distractor_only() -> None:
    texts = torch.tensor([[0.2, 0.1, 0.9], [0.0, 0.5, 0.1]])
    image_of_text = torch.tensor([0, 1])
    assert image_to_text_ranks(IMAGES, texts, image_of_text).tolist() == [0, 0]
    assert text_to_image_ranks(IMAGES, texts, image_of_text).tolist() == [1, 0]


def test_random_ranks_equal_those_of_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", 7)
    images, texts = torch.randn(20, 5), torch.randn(50, 5)
    image_of_text = torch.arange(50) % 20
    similarity = texts @ images.T
    by_text = [similarity[i].argsort(descending=True).tolist().index(int(own)) for i, own in enumerate(image_of_text)]
    order = similarity.T.argsort(dim=1, descending=True)
    by_image = [int((image_of_text[row] == image).int().argmax()) for image, row in enumerate(order)]
    assert text_to_image_ranks(images, texts, image_of_text).tolist() == by_text
    assert image_to_text_ranks(images, texts, image_of_text).tolist() == by_image


def test_list_ranks_by_hand() -> None:
    is_own = torch.tensor([[False, True, False], [True, True, False], [False, False, False], [True, False, True]])
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.6, 0.2], [0.9, 0.8, 0.7], [0.5, 0.5, 0.4]])
    # One wrong before; best own first; nothing right there; the best own one ties with a wrong one, which counts.
    assert list_ranks(is_own, scores).tolist() == [1, 0, NOT_FOUND, 1]
    # The right one of the first query and the better one of the second do not count; the latter stands in nobody's way.
    may_count = torch.tensor([[True, False, True], [True, False, True], [True] * 3, [True] * 3])
    assert list_ranks(is_own, scores, may_count).tolist() == [NOT_FOUND, 1, NOT_FOUND, 1]


def test_recall_estimates_by_hand() -> None:
    # Image 0 has texts 0 and 1, image 1 has text 2, image 2 has none; text 3 has no image.
    image_of_text = torch.tensor([0, 0, 1, NO_IMAGE])
    found = recall_estimates(torch.tensor([0, 7, 0]), torch.tensor([0, 3, 12, 0]), image_of_text)
    values = {name: estimate.value for name, estimate in found.items()}
    assert values == pytest.approx(
        {"i2t_r1": 1 / 2, "i2t_r5": 1 / 2, "i2t_r10": 1.0, "t2i_r1": 1 / 3, "t2i_r5": 2 / 3, "t2i_r10": 2 / 3}
        | {"sum": 1 / 2 + 1 / 2 + 1 + 1 / 3 + 2 / 3 + 2 / 3}
    )
    # t2i_r5: hits 1, 1, 0 around 2/3; residuals summed by image 2/3 and -2/3, over 3 queries, 2 images.
    assert found["t2i_r5"].error == pytest.approx((2 * (4 / 9 + 4 / 9)) ** 0.5 / 3)
    # i2t has one query an image: the usual standard error of a mean of (1, 0).
    assert found["i2t_r5"].error == pytest.approx(0.5)
    assert found["i2t_r10"].error == 0.0


def test_the_error_of_the_sum_and_of_a_difference_knows_that_queries_are_shared() -> None:
    image_of_text = torch.arange(40)
    ranks = torch.randint(0, 14, (2, 40))
    found = recall_estimates(ranks[0], ranks[1], image_of_text)
    hits = {k: ((ranks[0] < k).double() + (ranks[1] < k).double()) for k in (1, 5, 10)}
    an_image = hits[1] + hits[5] + hits[10]
    assert found["sum"].value == pytest.approx(an_image.mean().item())
    assert found["sum"].error == pytest.approx(an_image.std().item() / 40**0.5)
    same = found["i2t_r5"].minus(found["i2t_r5"])
    assert (same.value, same.error) == (0.0, 0.0)
    other = recall_estimates(ranks[0].roll(1), ranks[1], image_of_text)
    paired = (ranks[0] < 5).double() - (ranks[0].roll(1) < 5).double()
    assert found["i2t_r5"].minus(other["i2t_r5"]).error == pytest.approx(paired.std().item() / 40**0.5)


def test_without_a_query_there_is_no_recall() -> None:
    with pytest.raises(ValueError, match="no caption"):
        recall_estimates(torch.zeros(2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.tensor([NO_IMAGE]))
