import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fairseq import metrics
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.transforms import default_train_transform
from mvlm_plugin.evaluation.pair_table import FIGURES
from mvlm_plugin.evaluation.pretraining import evaluate_group
from mvlm_plugin.tasks import joint_masked_vl
from mvlm_plugin.tasks.joint_masked_vl import JointMaskedVLConfig, JointMaskedVLTask
from tests.helpers import colour, make_criterion, tiny_config, write_databin, write_shards

WEIGHTS = {"mlm": 1.0, "mim": 2.0, "itc": 0.5, "itm": 1.0}


def make_task(*folders: Path, **options: Any) -> JointMaskedVLTask:
    cfg = JointMaskedVLConfig(**{"data": ":".join(map(str, folders)), "seed": 1, **options})
    return JointMaskedVLTask.setup_task(cfg)


def build(task: JointMaskedVLTask, **options: Any) -> torch.nn.Module:
    cfg = tiny_config(**options)
    cfg._name = "mvlm_tiny"
    return task.build_model(OmegaConf.structured(cfg))


def validate(task: JointMaskedVLTask, model: torch.nn.Module) -> dict[str, float]:
    """What fairseq's validation loop does with a whole subset."""
    logs = []
    iterator = task.get_batch_iterator(task.dataset("valid"), max_sentences=8)
    with torch.no_grad():
        for sample in iterator.next_epoch_itr(shuffle=False):
            logs.append(task.valid_step(sample, model, make_criterion(**WEIGHTS))[2])
    with metrics.aggregate(new_root=True) as aggregated:
        task.reduce_metrics(logs, make_criterion(**WEIGHTS))
    return dict(aggregated.get_smoothed_values())


def test_validation_measures_every_pair_of_the_split_once(tiny_databin: Path) -> None:
    task = make_task(tiny_databin)
    model = build(task).eval()
    task.load_dataset("valid")
    first = validate(task, model)
    assert first["pairs"] == 48
    assert all(math.isfinite(first[name]) for name in FIGURES)
    expected = sum(weight * first[f"{name}_loss"] for name, weight in WEIGHTS.items())
    assert first["loss"] == pytest.approx(expected)
    assert validate(task, model) == first


@pytest.mark.parametrize("broken", [[7, 30], []])
def test_pairs_whose_losses_are_not_finite_are_named(
    tiny_databin: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, broken: list[int]
) -> None:
    def evaluate(model: torch.nn.Module, sample: dict[str, Any]) -> Any:
        result = evaluate_group(model, sample)
        result.figures[torch.isin(sample["id"], torch.tensor(broken)), 0] = math.nan
        return result

    monkeypatch.setattr(joint_masked_vl, "evaluate_group", evaluate)
    task = make_task(tiny_databin)
    model = build(task).eval()
    task.load_dataset("valid")
    loss = validate(task, model)["loss"]
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    if broken:
        assert len(errors) == 1
        assert "2 of 48 pairs of split valid" in errors[0]
        assert "so has the split: 7, 30 (see" in errors[0]
        assert loss == math.inf, "fairseq would take nan for the best loss from now on"
    else:
        assert errors == []
        assert math.isfinite(loss)


def test_nothing_is_reported_before_the_split_is_complete(tiny_databin: Path) -> None:
    task = make_task(write_databin(tiny_databin, images=80))
    model = build(task).eval()
    task.load_dataset("valid")
    iterator = task.get_batch_iterator(task.dataset("valid")).next_epoch_itr(shuffle=False)
    logs = [task.valid_step(sample, model, make_criterion())[2] for sample in iterator]
    assert len(logs) == 2
    with metrics.aggregate(new_root=True) as aggregated:
        task.reduce_metrics(logs[:1], make_criterion())
    assert math.isnan(aggregated.get_smoothed_values()["mlm_loss"])


def test_training_logs_the_means_of_the_criterion(tiny_databin: Path) -> None:
    task = make_task(tiny_databin)
    model = build(task)
    task.load_dataset("train")
    sample = task.dataset("train").collater([task.dataset("train")[i] for i in range(4)])
    criterion = make_criterion()
    loss, size, log = criterion(model, sample)
    with metrics.aggregate(new_root=True) as aggregated:
        task.reduce_metrics([log], criterion)
    assert aggregated.get_smoothed_values()["loss"] == pytest.approx(loss.item() / size, abs=1e-5)


def test_the_data_take_sizes_and_masks_from_the_model(tiny_databin: Path) -> None:
    task = make_task(tiny_databin, train_crop_scale=0.5)
    build(task, image_size=64, max_text_tokens=4, image_mask_ratio=0.25, text_mask_ratio=0.5)
    task.load_dataset("train")
    sample = task.dataset("train")[5]
    assert sample.image.shape == (3, 64, 64)
    assert sample.blocks.sum() == 4
    assert len(sample.tokens) == 4
    assert sample.chosen.sum() == 1
    assert task.dataset("train").options.train_transform == default_train_transform(0.5)


def test_the_mask_is_the_last_symbol(tiny_databin: Path) -> None:
    dictionary = make_task(tiny_databin).source_dictionary
    assert dictionary[len(dictionary) - 1] == "<mask>"


def test_data_before_the_model_are_refused(tiny_databin: Path) -> None:
    with pytest.raises(RuntimeError, match="build the model before loading data"):
        make_task(tiny_databin).load_dataset("train")


def test_several_databins_take_turns_by_epoch(tiny_databin: Path, tmp_path: Path) -> None:
    task = make_task(tiny_databin, write_databin(tmp_path / "small", images=6))
    build(task)
    sizes = []
    for epoch in (1, 2, 3):
        task.load_dataset("train", epoch=epoch)
        task.load_dataset("valid", epoch=epoch)
        sizes.append((len(task.dataset("train")), len(task.dataset("valid"))))
    assert sizes == [(48, 48), (12, 48), (48, 48)]


def test_another_dictionary_is_refused(tiny_databin: Path, tmp_path: Path) -> None:
    other = write_databin(tmp_path / "other", images=6)
    dictionary = Dictionary()
    dictionary.add_symbol("stranger")
    dictionary.save(str(other / "dict.txt"))
    task = make_task(tiny_databin, other)
    build(task)
    task.load_dataset("train", epoch=1)
    with pytest.raises(DataBinError, match="has another dictionary than the one this run started with"):
        task.load_dataset("train", epoch=2)


def test_shards_take_turns_like_databins(tiny_databin: Path, tmp_path: Path) -> None:
    sharded = write_shards(tmp_path / "sharded", [9, 6])
    task = make_task(sharded)
    build(task)
    assert task.has_sharded_data("train")
    sizes = []
    for epoch in (1, 2, 3):
        task.load_dataset("train", epoch=epoch)
        task.load_dataset("valid", epoch=epoch)
        sizes.append((len(task.dataset("train")), len(task.dataset("valid"))))
    assert sizes == [(18, 18), (12, 18), (18, 18)]
    both = make_task(tiny_databin, sharded)
    build(both)
    both.load_dataset("train", epoch=3)
    assert len(both.dataset("train")) == 12
    assert not make_task(tiny_databin).has_sharded_data("train")


def train_batches(task: JointMaskedVLTask, epoch: int = 1, workers: int = 0) -> list[dict[str, Any]]:
    iterator = task.get_batch_iterator(task.dataset("train"), max_sentences=16, epoch=epoch, num_workers=workers)
    return list(iterator.next_epoch_itr(shuffle=True))


def test_weights_mix_databins_within_an_epoch(tiny_databin: Path, tmp_path: Path) -> None:
    sharded = write_shards(tmp_path / "sharded", [3, 6])
    task = make_task(tiny_databin, sharded, dataset_weights="2,1")
    build(task)
    task.load_dataset("train")
    task.load_dataset("valid")
    assert not task.has_sharded_data("train")
    assert len(task.dataset("train")) == 48 + 6 + 12
    assert len(task.dataset("valid")) == 48
    for epoch in (1, 2):
        batches = train_batches(task, epoch, workers=2 * (epoch - 1))
        counts = {name: sum(b["source_pairs"][name] for b in batches) for name in ("databin", "sharded")}
        assert counts == {"databin": 44, "sharded": 22}
    # The shards of one data-bin share its weight as they share its pairs.
    assert task.dataset("train").draws == [44, 7, 15]


def test_pairs_of_each_source_are_logged(tiny_databin: Path, tmp_path: Path) -> None:
    other = write_databin(tmp_path / "other", images=6)
    task = make_task(tiny_databin, other, dataset_weights="1,1")
    model = build(task)
    task.load_dataset("train")
    criterion, logs = make_criterion(), []
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    for sample in train_batches(task):
        logs.append(task.train_step(sample, model, criterion, optimizer, 0)[2])
    with metrics.aggregate(new_root=True) as aggregated:
        task.reduce_metrics(logs, criterion)
    values = aggregated.get_smoothed_values()
    assert (values["pairs_databin"], values["pairs_other"]) == (30, 30)


def test_a_wrong_number_of_weights_is_refused(tiny_databin: Path) -> None:
    task = make_task(tiny_databin, dataset_weights="1,1")
    build(task)
    task.load_dataset("valid")  # a checkpoint of a mixture can be validated on one data-bin
    with pytest.raises(ValueError, match="--dataset-weights 1,1 are 2 for 1 data-bins"):
        task.load_dataset("train")


def test_a_fraction_of_the_images_with_all_their_captions(tiny_databin: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    task = make_task(tiny_databin, data_fraction=0.25)
    build(task)
    task.load_dataset("train")
    task.load_dataset("valid")
    data = task.dataset("train")
    samples = [data[index] for index in range(len(data))]
    images = {sample.image_id for sample in samples}
    assert len(images) == 6
    assert len(samples) == len({sample.pair for sample in samples}) == sum(1 + image % 3 for image in images)
    assert all(sample.image[:, 0, 0].tolist() == list(colour(sample.image_id)) for sample in samples)
    assert f"train: {len(samples)} captions of 6 images" in caplog.text
    assert len(task.dataset("valid")) == 48
    assert data.num_tokens_vec(np.arange(len(data))).tolist() == [len(sample.tokens) for sample in samples]
    assert sum(batch["nsentences"] for batch in train_batches(task)) == len(samples)


def test_bad_images_are_replaced_from_the_fraction(tiny_databin: Path) -> None:
    task = make_task(tiny_databin, data_fraction=0.25)
    build(task)
    task.load_dataset("train")
    data = task.dataset("train")
    pairs = [data[index].pair for index in range(len(data))]
    images = sorted({data[index].image_id for index in range(len(data))})
    record = data.store.images.record(images[0])
    with open(data.store.images.container_path(record.container), "r+b") as file:
        file.seek(record.offset)
        file.write(b"spam")
    samples = [data[index] for index in range(len(data))]
    assert sum(len(sample.bad) > 0 for sample in samples) == 1 + images[0] % 3
    assert {sample.pair for sample in samples} < set(pairs)


def test_a_mixture_takes_a_fraction_of_each(tiny_databin: Path, tmp_path: Path) -> None:
    other = write_databin(tmp_path / "other", images=6)
    task = make_task(tiny_databin, other, dataset_weights="1,1", data_fraction=0.5)
    build(task)
    task.load_dataset("train")
    samples = [task.dataset("train")[index] for index in range(len(task.dataset("train")))]
    images = {sample.image_id for sample in samples}
    assert len([image for image in images if image < 24]) <= 12
    assert len([image for image in images if image >= 24]) == 3


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_out_of_range_is_refused(tiny_databin: Path, fraction: float) -> None:
    with pytest.raises(ValueError, match="--data-fraction"):
        make_task(tiny_databin, data_fraction=fraction)


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5])
def test_a_crop_scale_out_of_range_is_refused(tiny_databin: Path, scale: float) -> None:
    with pytest.raises(ValueError, match="--train-crop-scale"):
        make_task(tiny_databin, train_crop_scale=scale)


def test_a_folder_that_is_no_databin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match=r"is not a data-bin.*mvlm-prep"):
        make_task(tmp_path)
