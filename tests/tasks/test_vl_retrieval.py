from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from mvlm_plugin.tasks.vl_retrieval import VlRetrievalConfig, VlRetrievalTask
from tests.helpers import tiny_config


def _train_batches(folder: Path, epoch: int = 1, **options: Any) -> tuple[list[list[int]], np.ndarray]:
    """Batches of 8 captions of an epoch, and the image of each caption."""
    task = VlRetrievalTask.setup_task(VlRetrievalConfig(data=str(folder), seed=1, **options))
    cfg = tiny_config()
    cfg._name = "mvlm_tiny"
    task.build_model(OmegaConf.structured(cfg))
    task.load_dataset("train")
    dataset = task.dataset("train")
    iterator = task.get_batch_iterator(dataset, max_sentences=8, seed=1, epoch=epoch).next_epoch_itr()
    return [batch["id"].tolist() for batch in iterator], np.asarray(dataset.store.pairs)


def _longest_run(captions: list[int], images: np.ndarray) -> dict[int, int]:
    """For each image the most of its captions that follow one another."""
    runs: dict[int, int] = {}
    length = 0
    for place, caption in enumerate(captions):
        same = place > 0 and images[caption] == images[captions[place - 1]]
        length = length + 1 if same else 1
        runs[int(images[caption])] = max(runs.get(int(images[caption]), 0), length)
    return runs


def test_captions_of_an_image_follow_one_another(tiny_databin: Path) -> None:
    batches, images = _train_batches(tiny_databin, texts_per_image=3)
    order = [caption for batch in batches for caption in batch]
    assert sorted(order) == list(range(48))
    assert _longest_run(order, images) == {image: 1 + image % 3 for image in range(24)}
    order_of_images = [
        image for place, image in enumerate(images[order]) if place == 0 or images[order][place - 1] != image
    ]
    assert order_of_images != sorted(order_of_images)


def test_an_image_with_more_captions_has_several_groups(tiny_databin: Path) -> None:
    batches, images = _train_batches(tiny_databin, texts_per_image=2)
    order = [caption for batch in batches for caption in batch]
    runs = _longest_run(order, images)
    assert all(runs[image] >= 2 for image in range(24) if image % 3 == 1)
    # Two captions of three together, and the third elsewhere: next to them by chance only.
    assert np.mean([runs[image] == 2 for image in range(2, 24, 3)]) > 0.5


def test_the_order_is_another_one_every_epoch_and_the_same_in_every_run(tiny_databin: Path) -> None:
    first, _ = _train_batches(tiny_databin, texts_per_image=2)
    assert _train_batches(tiny_databin, texts_per_image=2)[0] == first
    assert _train_batches(tiny_databin, epoch=2, texts_per_image=2)[0] != first


def test_a_share_of_the_images_keeps_its_groups(tiny_databin: Path) -> None:
    batches, images = _train_batches(tiny_databin, texts_per_image=3, data_fraction=0.5)
    order = [caption for batch in batches for caption in batch]
    kept = set(images[order].tolist())
    assert len(kept) == 12
    assert _longest_run(order, images) == {image: 1 + image % 3 for image in kept}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"texts_per_image": 0}, "at least 1"), ({"texts_per_image": 2, "dataset_weights": "1,1"}, "dataset-weights")],
)
def test_what_cannot_work_is_refused(tiny_databin: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VlRetrievalTask.setup_task(VlRetrievalConfig(data=f"{tiny_databin}:{tiny_databin}", seed=1, **options))
