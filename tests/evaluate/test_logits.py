from pathlib import Path
from typing import Any

import pytest
import torch

from mvlm_plugin.evaluate.logits import Predictions, predict_batches
from tests.labelled_databin import damage_image, texts, write_labelled
from tests.tasks.test_pair_classification import build, make_task


def predict_split(model: Any, task: Any, batch_size: int) -> Predictions:
    """All batches, in the order of the split."""
    batches = list(predict_batches(model, task, "valid", batch_size, "cpu"))
    ids, logits = torch.cat([batch.ids for batch in batches]), torch.cat([batch.logits for batch in batches])
    return Predictions(ids.sort().values, logits[ids.argsort()], sum(batch.bad_images for batch in batches))


@pytest.fixture
def databin(tmp_path: Path) -> Path:
    """Three texts an image, and texts of one image far apart, so that batches are in another order than the split."""
    rows = texts(21)
    return write_labelled(tmp_path, {"train": rows, "valid": rows[::2] + rows[1::2]})


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_logits_are_those_of_the_model_in_the_order_of_the_split(databin: Path, batch_size: int) -> None:
    task = make_task(databin)
    model = build(task).eval()
    predictions = predict_split(model, task, batch_size)
    assert predictions.ids.tolist() == list(range(21))
    assert predictions.bad_images == 0
    data = task.dataset("valid")
    for text in range(21):
        batch = data.collater([data[text]])
        assert batch["id"].tolist() == [text]
        torch.testing.assert_close(predictions.logits[text], model(**batch["net_input"])[0], atol=1e-5, rtol=1e-4)
    assert not predictions.logits.requires_grad


def test_bad_images_are_counted(databin: Path) -> None:
    damage_image(databin, "valid", 2)
    task = make_task(databin)
    predictions = predict_split(build(task).eval(), task, 4)
    assert predictions.bad_images == 3
    assert len(predictions.ids) == 21


def test_batches_have_what_the_whole_has(databin: Path) -> None:
    task = make_task(databin)
    model = build(task).eval()
    batches = list(predict_batches(model, task, "valid", 5, "cpu"))
    assert [len(batch.ids) for batch in batches] == [5, 5, 5, 5, 1]
    assert [len(batch.logits) for batch in batches] == [5, 5, 5, 5, 1]
    # Texts of an image are judged together, each image once a batch.
    assert batches[0].ids.tolist()[:3] != [0, 1, 2]


def test_precision_is_that_of_the_task(databin: Path) -> None:
    exact, rounded = (make_task(databin, autocast=option) for option in ("", "bf16"))
    model = build(exact).eval()
    build(rounded)
    logits = [predict_split(model, task, 8).logits for task in (exact, rounded)]
    assert 0 < (logits[0] - logits[1]).abs().max() < 0.1
