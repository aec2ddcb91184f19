import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mvlm_plugin.evaluate import retrieval
from mvlm_plugin.evaluate.command import main
from mvlm_plugin.evaluate.retrieval import evaluate_retrieval
from mvlm_plugin.evaluation.features import SplitFeatures, TextFeatures
from mvlm_plugin.evaluation.retrieval import NO_IMAGE
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_model, roughen, tiny_config

TOP_K = 10
BAD_IMAGE = 4
IMAGES = 14


@pytest.fixture(scope="module")
def model() -> MvlmModel:
    """Fully random: its matching depends on both partners."""
    return roughen(make_model(tiny_config())).eval()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def features(model: MvlmModel) -> SplitFeatures:
    """14 images, of which 4 is bad and 5 has no caption, and 36 captions, of which two have no image."""
    generator = torch.Generator().manual_seed(3)
    image_of_text = torch.arange(36) % IMAGES
    image_of_text[image_of_text == 5] = 6
    image_of_text[[3, 20]] = NO_IMAGE
    width, size = model.cfg.fusion_width, model.cfg.embedding_width
    lengths = torch.randint(3, 9, (36,), generator=generator)
    texts = TextFeatures(torch.randn(int(lengths.sum()), width, generator=generator), lengths)
    embeddings = [torch.randn(count, size, generator=generator) for count in (IMAGES, 36)]
    images, captions = (torch.nn.functional.normalize(x, dim=1) for x in embeddings)
    is_readable = torch.arange(IMAGES) != BAD_IMAGE
    whole = torch.randn(IMAGES, 17, width, generator=generator)
    return SplitFeatures(whole, texts, images, captions, image_of_text, is_readable)


def _log_odds(model: MvlmModel, features: SplitFeatures) -> Tensor:
    """(M, N), each pair alone."""
    first = torch.zeros(1, dtype=torch.int64)
    table = torch.zeros(len(features.images), len(features.image_of_text))
    for image in range(table.size(0)):
        for text in range(table.size(1)):
            tokens, padding = features.texts.padded(torch.tensor([text]))
            logits = model.match(features.images[image][None], tokens, padding, first, first)[0]
            table[image, text] = logits[1] - logits[0]
    return table


def _naive_recalls(similarity: Tensor, score: Tensor, features: SplitFeatures) -> dict[str, float]:
    """Queries one by one: candidates by similarity, re-ordered by score, the others behind them."""

    owners = features.image_of_text.tolist()
    readable = [i for i in range(IMAGES) if i != BAD_IMAGE]

    def rank(query: Tensor, scores: Tensor, right: set[int], gallery: list[int]) -> float:
        by_similarity = sorted(gallery, key=lambda item: -query[item])
        ranked = sorted(by_similarity[:TOP_K], key=lambda item: -scores[item]) + by_similarity[TOP_K:]
        # All before the first right one are wrong.
        return next((place for place, item in enumerate(ranked) if item in right), math.inf)

    def rank_of_image(i: int) -> float:
        own = {t for t, image in enumerate(owners) if image == i}
        return math.inf if i == BAD_IMAGE else rank(similarity[i], score[i], own, list(range(36)))

    by_image = [rank_of_image(i) for i in range(IMAGES) if i in owners]
    by_text = [rank(similarity[:, t], score[:, t], {own}, readable) for t, own in enumerate(owners) if own >= 0]
    ways = {"i2t": by_image, "t2i": by_text}
    figures = {f"{way}_r{k}": sum(r < k for r in ranks) / len(ranks) for way, ranks in ways.items() for k in (1, 5, 10)}
    return figures | {"sum": sum(figures.values())}


@pytest.mark.parametrize(("pairs_per_chunk", "use_faiss"), [(1, False), (50, False), (10_000, False), (50, True)])
def test_equals_a_naive_reference(
    model: MvlmModel, features: SplitFeatures, pairs_per_chunk: int, use_faiss: bool
) -> None:
    if use_faiss:
        pytest.importorskip("faiss")
    with torch.no_grad():
        estimates, pairs = evaluate_retrieval(model, features, TOP_K, pairs_per_chunk, "cpu", use_faiss)
        odds = _log_odds(model, features)
    similarity = features.image_embeddings @ features.text_embeddings.T
    scores = {"itc": similarity, "itm": odds, "itm_itc": odds + similarity / model.contrastive.temperature}
    found = {
        block: {name: estimate.value for name, estimate in entries.items()} for block, entries in estimates.items()
    }
    for block, score in scores.items():
        assert found[block] == pytest.approx(_naive_recalls(similarity, score, features)), block
    assert found["itm"] != found["itc"]
    # The union, without pairs of the bad image: at least the candidates of the captions, less than those of both.
    assert 36 * TOP_K <= pairs < (36 + 13) * TOP_K


def test_equal_embeddings_find_nothing_whatever_itm_says(model: MvlmModel, features: SplitFeatures) -> None:
    equal = features._replace(
        image_embeddings=torch.ones_like(features.image_embeddings),
        text_embeddings=torch.ones_like(features.text_embeddings),
    )
    estimates, _ = evaluate_retrieval(model, equal, TOP_K, 100, "cpu")
    assert {block: entries["sum"].value for block, entries in estimates.items()} == dict.fromkeys(estimates, 0.0)


def test_figures_that_are_not_finite_are_refused(model: MvlmModel, features: SplitFeatures) -> None:
    broken = features._replace(text_embeddings=features.text_embeddings * torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_retrieval(model, broken, TOP_K, 100, "cpu")
    broken = features._replace(images=features.images * torch.inf)
    with pytest.raises(ValueError, match="not finite"):
        evaluate_retrieval(model, broken, TOP_K, 100, "cpu")


def test_checkpoints_of_other_tasks_are_refused(
    model: MvlmModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = SimpleNamespace(cfg=SimpleNamespace(_name="vl_vqa"))
    monkeypatch.setattr(retrieval, "open_checkpoint", lambda path, data: (model, task))
    assert main(["retrieval", "--path", "a.pt", "--data", "bins"]) == 2
    assert "a.pt was trained for the task vl_vqa" in capsys.readouterr().err
