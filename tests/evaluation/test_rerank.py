import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mvlm_plugin.evaluation import rerank
from mvlm_plugin.evaluation.features import TextFeatures
from mvlm_plugin.evaluation.rerank import (
    NOBODY,
    CandidatePairs,
    Index,
    faiss_index,
    match_pairs,
    neighbours,
    torch_index,
)
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_model, roughen, tiny_config


@pytest.fixture(params=[torch_index, faiss_index], ids=["torch", "faiss"])
def make_index(request: pytest.FixtureRequest) -> Callable[[Tensor], Index]:
    if request.param is faiss_index:
        pytest.importorskip("faiss")
    return request.param


@pytest.mark.parametrize("held", [1, 40, 2**24])
def test_neighbours_are_those_of_sorting(
    make_index: Callable[[Tensor], Index], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerank, "_HELD", held)
    queries, gallery = torch.randn(13, 6), torch.randn(9, 6)
    found = neighbours(queries, gallery, 4, make_index=make_index)
    similarity, order = (queries @ gallery.T).sort(dim=1, descending=True)
    torch.testing.assert_close(found.similarity, similarity[:, :4])
    assert torch.equal(found.rows, order[:, :4])
    torch.testing.assert_close(found.next_similarity, similarity[:, 4])


def test_who_is_not_asked_has_nobody_and_who_is_not_offered_is_not_found(make_index: Callable[[Tensor], Index]) -> None:
    queries, gallery = torch.eye(4), torch.eye(4)
    asked, offered = torch.tensor([True, False, True, True]), torch.tensor([True, True, False, True])
    found = neighbours(queries, gallery, 4, asked, offered, make_index)
    assert found.rows.shape == (4, 3)
    assert found.rows[0, 0] == 0
    assert found.rows[3, 0] == 3
    assert (found.rows[1] == NOBODY).all()
    assert not found.is_found[1].any()
    assert not (found.rows == 2).any()
    assert found.next_similarity.tolist() == [-torch.inf] * 4


def test_ties_around_the_cut_are_not_ahead(make_index: Callable[[Tensor], Index]) -> None:
    gallery = torch.tensor([[1.0], [0.5], [0.5], [0.5]])
    assert neighbours(torch.ones(1, 1), gallery, 2, make_index=make_index).is_ahead.tolist() == [[True, False]]
    assert neighbours(torch.ones(1, 1), gallery, 4, make_index=make_index).is_ahead.all()


def test_faiss_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"mvlm-plugin\[faiss\]"):
        faiss_index(torch.zeros(1, 1))


def test_candidate_pairs_are_a_union_without_repetition() -> None:
    texts_of_images = torch.tensor([[0, 2], [1, 2], [NOBODY, NOBODY]])
    images_of_texts = torch.tensor([[0, 1], [1, 0], [NOBODY, NOBODY], [2, 1]])
    pairs = CandidatePairs(texts_of_images, images_of_texts)
    expected = {(0, 0), (0, 2), (1, 1), (1, 2), (1, 0), (0, 1), (2, 3), (1, 3)}
    found = list(zip(pairs.images.tolist(), pairs.texts.tolist(), strict=True))
    assert len(found) == len(pairs) == len(expected)
    assert set(found) == expected
    scores = 10.0 * pairs.images + pairs.texts
    of_images, of_texts = pairs.tables(scores, texts_of_images, images_of_texts)
    assert of_images.tolist() == [[0, 2], [11, 12], [-torch.inf] * 2]
    assert of_texts.tolist() == [[0, 10], [11, 1], [-torch.inf] * 2, [23, 13]]


@pytest.fixture(scope="module")
def model() -> MvlmModel:
    """Fully random: its matching depends on both partners."""
    return roughen(make_model(tiny_config())).eval()  # type: ignore[return-value]


def _naive(model: MvlmModel, images: Tensor, texts: list[Tensor], pairs: list[tuple[int, int]]) -> Tensor:
    """Log-odds pair by pair, with nothing padded and nothing shared."""
    first = torch.zeros(1, dtype=torch.int64)
    odds = []
    for image, text in pairs:
        padding = torch.zeros(1, len(texts[text]), dtype=torch.bool)
        logits = model.match(images[image][None], texts[text][None], padding, first, first)[0]
        odds.append(logits[1] - logits[0])
    return torch.stack(odds)


@pytest.mark.parametrize("pairs_per_chunk", [1, 3, 1000])
def test_matching_in_chunks_equals_pair_by_pair(model: MvlmModel, pairs_per_chunk: int) -> None:
    generator = torch.Generator().manual_seed(1)
    width = model.cfg.fusion_width
    images = torch.randn(4, 17, width, generator=generator)
    texts = [torch.randn(length, width, generator=generator) for length in (5, 3, 9, 3, 6)]
    features = TextFeatures(torch.cat(texts), torch.tensor([len(text) for text in texts]))
    rows = [(i, t) for i in range(4) for t in range(5) if (i + t) % 3]
    image_rows, text_rows = torch.tensor(rows).T
    scores = torch.full((len(rows),), torch.nan)
    for places, odds in match_pairs(model, images, features, image_rows, text_rows, pairs_per_chunk, "cpu"):
        assert scores[places].isnan().all()
        assert len(places) <= pairs_per_chunk
        scores[places] = odds
    with torch.no_grad():
        expected = _naive(model, images, texts, rows)
    assert expected.std() > 0.01
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
