import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq import metrics

from mvlm_plugin.criterions.vl_classification import (
    VlClassificationConfig,
    VlClassificationCriterion,
    label_losses,
)
from mvlm_plugin.models.pair_classifier import PairClassifier
from tests.criterions.test_no_synchronisation import NoWaitingMethods, NoWaitingOperations
from tests.helpers import assert_same_tensors, gradients, make_dictionary, tiny_config


def criterion(**options: Any) -> VlClassificationCriterion:
    cfg = VlClassificationConfig(**options)
    return VlClassificationCriterion(cfg, SimpleNamespace(target_dictionary=make_dictionary()))


def batch(scores: torch.Tensor, seed: int = 0, labelled: int | None = None) -> dict[str, Any]:
    """A text of 4 words about a picture of its own for every row of scores."""
    generator = torch.Generator().manual_seed(seed)
    count = len(scores)
    answerable = int((scores.sum(dim=1) > 0).sum())
    return {
        "id": torch.arange(count), "nsentences": count, "ntokens": 4 * count, "bad_images": 0,
        "labelled": answerable if labelled is None else labelled, "answerable": answerable, "scores": scores,
        "net_input": {
            "images": torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator),
            "tokens": torch.randint(4, 40, (count, 4), generator=generator),
            "image_rows": torch.arange(count)[:, None],
        },
    }  # fmt: skip


def part(sample: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Some texts of a batch, with their images."""
    inputs = sample["net_input"]
    scores = sample["scores"][rows]
    smaller = batch(scores)
    smaller["net_input"] = {
        "images": inputs["images"][rows], "tokens": inputs["tokens"][rows],
        "image_rows": torch.arange(len(scores))[:, None],
    }  # fmt: skip
    return smaller


def reduced(*logs: dict[str, Any]) -> dict[str, float]:
    """What fairseq makes of the logs of several batches."""
    with metrics.aggregate(new_root=True) as aggregated:
        for log in logs:
            VlClassificationCriterion.reduce_metrics([log])
    return dict(aggregated.get_smoothed_values())


def test_hard_labels_give_the_usual_cross_entropy() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    scores = F.one_hot(labels, 4).float()
    torch.testing.assert_close(label_losses(logits, scores), F.cross_entropy(logits, labels, reduction="none"))
    torch.testing.assert_close(
        label_losses(logits, scores, smoothing=0.2),
        F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.2),
    )


def test_soft_labels_are_brought_to_a_sum_of_one() -> None:
    logits, scores = torch.randn(2, 3), torch.tensor([[0.9, 0.3, 0.0], [0.0, 1.0, 1.0]])
    expected = F.cross_entropy(logits, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.5, 0.5]]), reduction="none")
    torch.testing.assert_close(label_losses(logits, scores), expected)


def test_bce_judges_every_class_by_itself() -> None:
    logits, scores = torch.randn(2, 3), torch.tensor([[0.9, 0.3, 0.0], [0.0, 1.0, 1.0]])
    p = logits.sigmoid()
    expected = -(scores * p.log() + (1 - scores) * (1 - p).log()).sum(dim=1)
    torch.testing.assert_close(label_losses(logits, scores, "bce"), expected)


@pytest.mark.parametrize(("kind", "smoothing"), [("cross_entropy", 0.1), ("bce", 0.0)])
def test_a_text_without_a_class_has_no_loss(kind: str, smoothing: float) -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    losses = label_losses(logits, torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), kind, smoothing)
    assert losses[0] == 0 < losses[1]
    losses.sum().backward()
    assert not logits.grad[0].any()
    assert logits.grad[1].all()


def test_figures_are_means_over_texts_whatever_the_batches() -> None:
    # The last text has a label that is no class: wrong, and without a loss.
    scores = torch.tensor([[1.0, 0, 0], [0, 0.3, 0.9], [0, 1.0, 0], [0.6, 0, 0], [0, 0, 1.0], [0, 0, 0]])
    model = PairClassifier(tiny_config(), make_dictionary(), 3).eval()
    measure = criterion()
    whole = batch(scores, labelled=6)
    _, size, log = measure(model, whole)
    logits = model(**whole["net_input"]).detach()
    assert size == 5
    expected = {
        "loss": float(label_losses(logits, scores).sum()) / 5,
        "accuracy": float(scores[torch.arange(6), logits.argmax(dim=1)].sum()) / 6,
    }
    one = reduced(log)
    assert {name: one[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    parts = [measure(model, part(whole, rows))[2] for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    parts[-1]["labelled"] = 2
    several = reduced(*parts)
    assert {name: several[name] for name in expected} == pytest.approx(expected, abs=2e-6)


def test_gradients_add_up_over_accumulated_batches() -> None:
    scores = F.one_hot(torch.tensor([0, 2, 1, 1, 0]), 3).float()
    model = PairClassifier(tiny_config(), make_dictionary(), 3)
    measure, whole = criterion(label_smoothing=0.1), batch(scores)
    measure(model, whole)[0].backward()
    expected = gradients(model)
    model.zero_grad()
    for rows in (slice(0, 2), slice(2, 5)):
        measure(model, part(whole, rows))[0].backward()
    assert_same_tensors(gradients(model), expected, tolerance=1e-4)


def test_a_split_without_labels_has_no_figures() -> None:
    _, size, log = criterion()(PairClassifier(tiny_config(), make_dictionary(), 3), batch(torch.zeros(2, 3)))
    assert size == 0
    figures = reduced(log)
    assert math.isnan(figures["loss"])
    assert math.isnan(figures["accuracy"])
    assert figures["labelled"] == 0


@pytest.mark.parametrize("options", [{}, {"label_loss": "bce"}])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_step_does_not_wait_for_the_device(options: dict[str, str], autocast: bool) -> None:
    model = PairClassifier(tiny_config(), make_dictionary(), 3)
    sample = batch(F.one_hot(torch.tensor([0, 2, 1]), 3).float())
    measure = criterion(**options)
    with NoWaitingMethods(), NoWaitingOperations(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, _, _ = measure(model, sample)
        loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_loss": "hinge"}, "--label-loss hinge: unknown; choices: cross_entropy, bce"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0 must be at least 0 and below 1"),
        ({"label_smoothing": 0.1, "label_loss": "bce"}, "does not go together with --label-loss bce"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        criterion(**options)
