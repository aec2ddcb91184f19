"""The same seed gives the same run: batches whatever the number of loader workers, and weights bit for bit."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import utils
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf

from tests.data.test_dataset import damage
from tests.helpers import tiny_config, write_databin, write_shards
from tests.labelled_databin import damage_image, texts, write_labelled
from tests.training import train

# Draws random numbers, beside the masks.
TRANSFORM = "decode|random_resized_crop({size}, scale=0.3)|randaugment(2, 7)"


def plain(folder: Path) -> dict[str, Any]:
    """Pairs, some of whose images are bad."""
    databin = write_databin(folder / "plain")
    damage(databin, [0, 4, 5, 20])
    return {"data": str(databin)}


def mixture(folder: Path) -> dict[str, Any]:
    large, small = write_databin(folder / "large"), write_databin(folder / "small", images=7)
    damage(large, [3, 8])
    return {"data": f"{large}:{small}", "dataset_weights": "3,1"}


def shards(folder: Path) -> dict[str, Any]:
    return {"data": str(write_shards(folder / "shards", [9, 12]))}


def fraction(folder: Path) -> dict[str, Any]:
    return {"data": str(write_databin(folder / "whole")), "data_fraction": 0.5}


def retrieval(folder: Path) -> dict[str, Any]:
    return {"data": str(write_databin(folder / "pairs")), "texts_per_image": 2}


def labelled(folder: Path, images: int = 1) -> dict[str, Any]:
    databin = write_labelled(folder / "labelled", {"train": texts(30, images=images)})
    damage_image(databin, "train", 4)
    return {"data": str(databin)}


def entailment(folder: Path) -> dict[str, Any]:
    rows = [text._replace(fields={"label": ["neutral", "entailment"][i % 2]}) for i, text in enumerate(texts(30))]
    return {"data": str(write_labelled(folder / "entailment", {"train": rows})), "texts_per_image": 3}


def two_images(folder: Path) -> dict[str, Any]:
    return labelled(folder, images=2)


def answers(folder: Path) -> dict[str, Any]:
    rows = [text._replace(fields={"answer": ["yes", "no", "two"][i % 3]}) for i, text in enumerate(texts(30))]
    return {"data": str(write_labelled(folder / "answers", {"train": rows})), "shuffled_images": True}


CASES: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "bad images": ("joint_masked_vl", plain),
    "mixture": ("joint_masked_vl", mixture),
    "shards": ("joint_masked_vl", shards),
    "fraction": ("joint_masked_vl", fraction),
    "retrieval": ("vl_retrieval", retrieval),
    "two images a text": ("vl_nlvr2", two_images),
    "entailment": ("vl_entailment", entailment),
    "answers": ("vl_vqa", answers),
}


def passes(task: str, options: dict[str, Any], workers: int, seed: int = 1) -> list[dict[str, Any]]:
    """Batches of two epochs, as fairseq's trainer reads them, of a task set up anew."""
    kind = TASK_REGISTRY[task]
    made = kind.setup_task(kind.__dataclass(seed=seed, train_transform=TRANSFORM, **options))
    cfg = tiny_config()
    cfg._name = "mvlm_tiny"
    made.build_model(OmegaConf.structured(cfg))
    batches: list[dict[str, Any]] = []
    for epoch in (1, 2):
        made.load_dataset("train", epoch=epoch)
        iterator = made.get_batch_iterator(
            made.dataset("train"), max_sentences=7, seed=seed, epoch=epoch, num_workers=workers, data_buffer_size=4
        )
        batches += iterator.next_epoch_itr(fix_batches_to_gpus=False)
    return batches


def exact(value: Any) -> Any:
    """A batch or a state with type, shape and bytes in place of tensors: equal only where all bits are."""
    return utils.apply_to_sample(
        lambda tensor: (tensor.dtype, tensor.shape, hashlib.sha256(tensor.numpy().tobytes()).digest()), value
    )


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_workers_makes_the_same_batches_in_the_same_order(case: str, tmp_path: Path) -> None:
    task, write = CASES[case]
    options = write(tmp_path)
    expected = exact(passes(task, options, workers=0))
    assert len(expected) >= 4
    for workers in (0, 1, 3):
        assert exact(passes(task, options, workers)) == expected
    if case in ("bad images", "mixture"):
        assert sum(batch["bad_images"] for batch in expected) > 0
    assert exact(passes(task, options, workers=0, seed=2)) != expected


def state_of(path: Path) -> dict[str, Any]:
    """All that a training leaves but for paths, times and meters: weights, optimizer, place in the data."""
    state = torch.load(path)
    return {
        "model": exact(state["model"]),
        "optimizer": exact(state["last_optimizer_state"]),
        "iterator": state["extra_state"]["train_iterator"],
    }


def test_two_trainings_end_with_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    databin = Path(plain(tmp_path)["data"])
    random = ["--dropout", 0.1, "--train-transform", TRANSFORM, "--batch-size", 20]  # 3 updates an epoch
    random += ["--max-bad-fraction", 1]
    first, second, other = (
        state_of(train(databin, tmp_path / str(run), *random, "--seed", seed, "--num-workers", workers, updates=4))
        for run, (seed, workers) in enumerate([(3, 0), (3, 2), (4, 0)])
    )
    assert first["iterator"]["epoch"] == 2
    assert first == second
    assert first["model"] != other["model"]
