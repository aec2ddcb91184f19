import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import metrics
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf

from mvlm_plugin.criterions.vl_classification import VlClassificationConfig, VlClassificationCriterion
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.models.pair_classifier import PairClassifier
from mvlm_plugin.tasks.pair_classification import PairClassificationTask
from tests.helpers import tiny_config
from tests.labelled_databin import Text, texts, write_labelled


def make_task(folder: Path, name: str = "vl_nlvr2", **options: Any) -> PairClassificationTask:
    task = TASK_REGISTRY[name]
    return task.setup_task(task.__dataclass(**{"data": str(folder), "seed": 1, **options}))


def build(task: PairClassificationTask, from_checkpoint: bool = False, **options: Any) -> PairClassifier:
    cfg = tiny_config(**options)
    cfg._name = "mvlm_tiny"
    return task.build_model(OmegaConf.structured(cfg), from_checkpoint)


def validate(task: PairClassificationTask, model: torch.nn.Module, batch_size: int = 8) -> dict[str, float]:
    """What fairseq's validation loop does with a whole subset."""
    criterion = VlClassificationCriterion(VlClassificationConfig(), task)
    iterator = task.get_batch_iterator(task.dataset("valid"), max_sentences=batch_size)
    with metrics.aggregate(new_root=True) as aggregated:
        for sample in iterator.next_epoch_itr(shuffle=False):
            task.reduce_metrics([task.valid_step(sample, model, criterion)[2]], criterion)
    return dict(aggregated.get_smoothed_values())


@pytest.fixture
def databin(tmp_path: Path) -> Path:
    """Sentences about pairs of pictures: 12 to train on, 20 held out."""
    return write_labelled(tmp_path / "pairs", {"train": texts(12, images=2), "valid": texts(20, images=2)})


def test_the_number_of_images_is_that_of_the_data(databin: Path) -> None:
    task = make_task(databin)
    model = build(task)
    assert isinstance(model, PairClassifier)
    assert model.head.images == 2
    assert task.classes == ["False", "True"]
    task.load_dataset("train")
    batch = task.dataset("train").collater([task.dataset("train")[i] for i in range(4)])
    assert batch["net_input"]["image_rows"].shape == (4, 2)
    assert model(**batch["net_input"]).shape == (4, 2)


def test_parts_of_an_image_count_as_images(tmp_path: Path) -> None:
    task = make_task(write_labelled(tmp_path, {"train": texts(6)}), image_parts=3)
    assert build(task).head.images == 3


def test_parts_of_several_images_are_refused(databin: Path) -> None:
    with pytest.raises(ValueError, match=r"--image-parts 3: the texts of .* have 2 images"):
        build(make_task(databin, image_parts=3))


def test_validation_does_not_depend_on_the_batch_size(databin: Path) -> None:
    task = make_task(databin)
    model = build(task).eval()
    task.load_dataset("valid")
    one, many = validate(task, model, 20), validate(task, model, 3)
    assert one["labelled"] == many["labelled"] == 20
    for name in ("loss", "accuracy"):
        assert one[name] == pytest.approx(many[name], abs=2e-6)
    assert one["accuracy"] * 20 == pytest.approx(round(one["accuracy"] * 20), abs=1e-3)


def test_a_validation_loss_that_is_not_finite_is_reported(databin: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = make_task(databin)
    model = build(task).eval()
    task.load_dataset("valid")
    validate(task, model, 20)
    assert "is not finite" not in caplog.text
    with torch.no_grad():
        next(model.head.parameters()).fill_(math.nan)
    validate(task, model, 20)
    assert "validation: the loss nan of texts [0, 1, 2," in caplog.text


def test_bfloat16_is_used_where_it_is_asked_for(databin: Path) -> None:
    exact, rounded = (make_task(databin, autocast=option) for option in ("", "bf16"))
    model = build(exact)
    build(rounded)
    for task in (exact, rounded):
        task.load_dataset("valid")
    difference = abs(validate(exact, model)["loss"] - validate(rounded, model)["loss"])
    assert 0 < difference < 0.05


def test_classes_and_images_come_from_the_checkpoint_where_there_is_one(databin: Path, tmp_path: Path) -> None:
    trained = make_task(databin)
    build(trained)
    held_out = write_labelled(tmp_path / "test", {"test": texts(8, images=2)})
    task = make_task(held_out)
    task.load_state_dict(trained.state_dict())
    model = build(task, from_checkpoint=True)
    task.load_dataset("test")
    assert model.head.images == 2
    assert task.classes == trained.classes
    assert len(task.dataset("test")) == 8


def test_data_of_another_number_of_images_are_refused(databin: Path, tmp_path: Path) -> None:
    task = make_task(databin)
    build(task)
    other = make_task(write_labelled(tmp_path / "single", {"test": texts(8)}))
    other.load_state_dict(task.state_dict())
    build(other, from_checkpoint=True)
    with pytest.raises(DataBinError, match=r"have 1 images, the model was made for 2; give it data of the same kind"):
        other.load_dataset("test")


def test_a_split_without_the_label_field_is_predicted_but_not_scored(
    databin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task(databin, label_field="gold")
    model = build(task)
    task.load_dataset("valid")
    assert "split valid of" in caplog.text
    assert "has no label field gold" in caplog.text
    batch = task.dataset("valid").collater([task.dataset("valid")[0]])
    assert model(**batch["net_input"]).shape == (1, 2)
    assert batch["labelled"] == 0
    with pytest.raises(DataBinError, match=r"has no label field to train on.*--label-field"):
        task.load_dataset("train")


def test_entailment_has_three_classes_and_takes_either_field(tmp_path: Path) -> None:
    names = ["entailment", "neutral", "contradiction"]
    for field in ("label", "gold_label"):
        rows = [Text((n,), (n,), {field: names[n % 3], "explanation": "because"}) for n in range(6)]
        task = make_task(write_labelled(tmp_path / field, {"train": rows}), "vl_entailment")
        build(task)
        task.load_dataset("train")
        samples = [task.dataset("train")[i] for i in range(6)]
        assert [sample.scores for sample in samples] == [{n % 3: 1.0} for n in range(6)]
    assert task.classes == names


def test_the_frequent_answers_are_the_classes_of_vqa(tmp_path: Path) -> None:
    answers = ["red", "Red", "blue", "red", "blue", "green", ""]
    rows = [Text((n,), (n,), {"answer": answer}) for n, answer in enumerate(answers)]
    folder = write_labelled(tmp_path, {"train": rows, "valid": rows})
    assert make_task(folder, "vl_vqa").classes == ["red", "blue", "green"]
    assert make_task(folder, "vl_vqa", num_answers=1).classes == ["red"]
    task = make_task(folder, "vl_vqa", min_answer_count=2)
    model = build(task)
    assert task.classes == ["red", "blue"]
    task.load_dataset("train")
    task.load_dataset("valid")
    assert len(task.dataset("train")) == 5
    assert validate(task, model.eval())["labelled"] == 6


def test_answers_of_ten_people_are_soft(tmp_path: Path) -> None:
    people = ["yes"] * 6 + ["No."] * 3 + ["the dog"]
    rows = [Text((n,), (n,), {"answers": answer}) for n, answer in enumerate((people, ["dog"] * 10, ["no"] * 10))]
    task = make_task(write_labelled(tmp_path, {"train": rows}), "vl_vqa")
    build(task)
    task.load_dataset("train")
    scores = {task.classes[number]: score for number, score in task.dataset("train")[0].scores.items()}
    assert scores == pytest.approx({"yes": 1.0, "no": 0.9, "dog": 0.3})


def test_no_answers_are_refused(databin: Path) -> None:
    with pytest.raises(DataBinError, match=r"no answer is found in .*--label-field"):
        build(make_task(databin, "vl_vqa"))


@pytest.mark.parametrize(
    ("classes", "change"),
    [
        (["True", "False"], "in another order"),
        (["False", "True", "Maybe"], "new: none; missing: 'Maybe'"),
        (["no", "True"], "new: 'False'; missing: 'no'"),
    ],
)
def test_resuming_with_other_classes_is_refused(databin: Path, classes: list[str], change: str) -> None:
    task = make_task(databin)
    build(task)
    state = task.get_checkpoint_dict()["VlNlvr2Task"]
    task.set_checkpoint_dict(dict(state))
    with pytest.raises(ValueError, match=f"cannot resume: .*{change}"):
        task.set_checkpoint_dict({**state, "classes": classes})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_parts": 0}, "--image-parts 0 must be at least 1"),
        ({"texts_per_image": 0}, "--texts-per-image 0 must be at least 1"),
        ({"dataset_weights": "1,2"}, "--dataset-weights: a classification task trains on one data-bin"),
        ({"autocast": "fp8"}, "--autocast fp8: unknown"),
    ],
)
def test_options_that_cannot_work_are_refused(databin: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(databin, **options)


def test_a_process_without_data_left_has_no_figures(databin: Path) -> None:
    task = make_task(databin)
    criterion = VlClassificationCriterion(VlClassificationConfig(), task)
    loss, size, log = task.valid_step({}, build(task), criterion)
    assert (float(loss), size) == (0.0, 0)
    with metrics.aggregate(new_root=True) as aggregated:
        task.reduce_metrics([log], criterion)
    assert math.isnan(aggregated.get_smoothed_values()["accuracy"])
