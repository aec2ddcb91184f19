import pytest
import torch

from mvlm_plugin.evaluation import retrieval
from mvlm_plugin.evaluation.retrieval import image_to_text_ranks, recalls, text_to_image_ranks


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
