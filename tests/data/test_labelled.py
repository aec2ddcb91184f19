from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mvlm_plugin import Draw, RgbImage, register_image_operation
from mvlm_plugin.data.answers import Labels
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.labelled import LabelledDataset
from mvlm_plugin.data.transforms import operations
from tests.helpers import colour, make_dictionary
from tests.labelled_databin import Text, colours, damage_image, labelled_dataset, texts, write_labelled

RANDOM = {"train_transform": "decode|resize_exact({size})|random_noise"}


@pytest.fixture
def random_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation whose every draw is another picture; forgotten after the test."""
    monkeypatch.setattr(operations.IMAGE_OPERATIONS, "_builders", dict(operations.IMAGE_OPERATIONS._builders))

    @register_image_operation("random_noise", is_random=True)
    def random_noise() -> Any:
        def apply(image: RgbImage, draw: Draw) -> RgbImage:
            return RgbImage(draw.rng.integers(0, 256, (image.height, image.width, 3), dtype=np.uint8))

        return apply


def batches(data: LabelledDataset, size: int) -> list[dict[str, Any]]:
    """The batches of an epoch."""
    return [
        data.collater([data[int(index)] for index in batch])
        for batch in data.batch_by_size(data.ordered_indices(), max_sentences=size)
    ]


def seen(batch: dict[str, Any]) -> dict[int, list[tuple[int, ...]]]:
    """Text -> colours of its images, as the model gets them."""
    inputs = batch["net_input"]
    pictures = colours(inputs["images"])
    rows = inputs["image_rows"].tolist()
    return {text: [pictures[row] for row in of_text] for text, of_text in zip(batch["id"].tolist(), rows, strict=True)}


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_every_text_has_its_own_images_words_and_label(tmp_path: Path, split: str, images: int) -> None:
    rows = texts(20, images=images)
    data = labelled_dataset(write_labelled(tmp_path, {split: rows}), split)
    dictionary = make_dictionary()
    found = set()
    for batch in batches(data, 6):
        tokens = batch["net_input"]["tokens"]
        for row, (text, pictures) in enumerate(seen(batch).items()):
            found.add(text)
            assert pictures == [colour(image) for image in rows[text].images]
            words = [dictionary.index(f"w{word}") for word in rows[text].words]
            expected = [dictionary.bos(), *words, dictionary.eos()]
            assert tokens[row].tolist() == expected + [dictionary.pad()] * (tokens.size(1) - len(expected))
            assert batch["scores"][row].tolist() == [float(text % 2 == 1), float(text % 2 == 0)]
    assert found == set(range(20))


def test_an_image_is_there_once_a_batch(tmp_path: Path) -> None:
    data = labelled_dataset(write_labelled(tmp_path, {"valid": texts(12)}), "valid")
    for batch in batches(data, 6):
        assert batch["net_input"]["images"].shape == (2, 3, 16, 16)
        assert batch["net_input"]["image_rows"].tolist() == [[0], [0], [0], [1], [1], [1]]


@pytest.mark.usefixtures("random_noise")
def test_texts_of_an_image_share_its_draw_in_training(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, {"train": texts(24, per_image=6)})
    together = labelled_dataset(folder, transforms=RANDOM, texts_per_image=3)
    counts = [len(batch["net_input"]["images"]) for batch in batches(together, 6)]
    assert counts == [2, 2, 2, 2]
    apart = labelled_dataset(folder, transforms=RANDOM)
    assert [len(batch["net_input"]["images"]) for batch in batches(apart, 6)] == [6, 6, 6, 6]
    first, second = (apart[text].images[0] for text in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("random_noise")
def test_draws_follow_from_seed_epoch_and_text_alone(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, {"train": texts(12)})

    def epoch(number: int, order: list[int], seed: int = 1) -> torch.Tensor:
        data = labelled_dataset(folder, transforms=RANDOM, texts_per_image=2, seed=seed)
        data.set_epoch(number)
        found = {text: data[text].images[0] for text in order}
        return torch.stack([found[text] for text in range(12)])

    first = epoch(1, list(range(12)))
    assert torch.equal(first, epoch(1, list(reversed(range(12)))))
    assert not torch.equal(first, epoch(2, list(range(12))))
    assert not torch.equal(first, epoch(1, list(range(12)), seed=2))


@pytest.mark.usefixtures("random_noise")
def test_a_new_epoch_forgets_the_images_of_the_last(tmp_path: Path) -> None:
    data = labelled_dataset(write_labelled(tmp_path, {"train": texts(12, per_image=1)}), transforms=RANDOM)
    before, order = data[0].images[0], data.ordered_indices()
    data.set_epoch(2)
    assert not torch.equal(before, data[0].images[0])
    assert not np.array_equal(order, data.ordered_indices())


def test_parts_are_columns_from_left_to_right(tmp_path: Path) -> None:
    data = labelled_dataset(write_labelled(tmp_path, {"valid": texts(4)}), "valid", image_parts=3)
    batch = batches(data, 4)[0]
    assert batch["net_input"]["image_rows"].tolist() == [[0, 1, 2]] * 3 + [[3, 4, 5]]
    assert batch["net_input"]["images"].shape == (6, 3, 16, 16)


def test_shuffled_images_are_those_of_other_texts_for_good(tmp_path: Path) -> None:
    rows = texts(24)
    folder = write_labelled(tmp_path, {"train": rows, "valid": rows})
    for split in ("train", "valid"):
        data = labelled_dataset(folder, split, shuffled_images=True)
        given: dict[int, Any] = {}
        for epoch in (1, 2):
            data.set_epoch(epoch)
            now = {text: pictures for batch in batches(data, 5) for text, pictures in seen(batch).items()}
            assert all(pictures != [colour(rows[text].images[0])] for text, pictures in now.items())
            assert not given or given == now
            given = now
        # A permutation: every picture is seen as often as before.
        assert sorted(map(tuple, given.values())) == sorted((colour(text.images[0]),) for text in rows)
        labels = {sample.text: sample.scores for sample in (data[i] for i in range(24))}
        assert labels == {text: {1 - text % 2: 1.0} for text in range(24)}
        if split == "valid":  # texts that were given the same image stand together
            assert [len(batch["net_input"]["images"]) for batch in batches(data, 6)] == [2] * 4
    other = labelled_dataset(folder, "valid", shuffled_images=True, seed=2)
    assert given != {text: pictures for batch in batches(other, 5) for text, pictures in seen(batch).items()}


def test_training_replaces_a_bad_image_by_another_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_labelled(tmp_path, {"train": texts(12)})
    damage_image(folder, "train", 1)
    data = labelled_dataset(folder)
    samples = [data[text] for text in range(12)]
    assert [len(sample.bad) > 0 for sample in samples] == [False] * 3 + [True] * 3 + [False] * 6
    assert all(sample.text not in (3, 4, 5) for sample in samples)
    assert data.collater(samples)["bad_images"] == sum(len(sample.bad) for sample in samples) >= 3
    assert "text 3 of train left out, another stands in" in caplog.text


def test_a_held_out_text_with_a_bad_image_is_judged_with_a_black_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_labelled(tmp_path, {"valid": texts(8, per_image=2, images=2)})
    damage_image(folder, "valid", 2)
    data = labelled_dataset(folder, "valid")
    batch = data.collater([data[text] for text in range(4)])
    assert batch["id"].tolist() == [0, 1, 2, 3]
    assert [bad.pair for bad in batch["bad"]] == [2, 3]
    assert batch["bad_images"] == 2
    assert seen(batch)[2] == seen(batch)[3] == [(0, 0, 0), colour(3)]
    assert "text 2 of valid is judged with a black image" in caplog.text


def test_nothing_readable_stops_training(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, {"train": texts(3)})
    damage_image(folder, "train", 0)
    with pytest.raises(DataBinError, match="no readable image among 20 texts of split train"):
        labelled_dataset(folder)[0]


def test_texts_without_a_class_are_left_out_of_training_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = [Text((0,), (1,), {"answer": answer}) for answer in ("red", "blue", "", "rare", "red")]
    folder = write_labelled(tmp_path, {"train": rows, "valid": rows})
    labels = Labels(["red", "blue"], "answer", is_open=True)
    train = labelled_dataset(folder, labels=labels)
    assert [train[i].text for i in range(len(train))] == [0, 1, 4]
    assert "2 of 5 texts are left out of training" in caplog.text
    held_out = labelled_dataset(folder, "valid", labels=labels)
    batch = held_out.collater([held_out[i] for i in range(5)])
    assert (batch["nsentences"], batch["labelled"], batch["answerable"]) == (5, 4, 3)
    assert batch["scores"].tolist() == [[1, 0], [0, 1], [0, 0], [0, 0], [1, 0]]


def test_training_without_labels_is_refused(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path, {"train": texts(4)})
    nothing = Labels(["red"], "label", is_open=True)
    with pytest.raises(DataBinError, match=r"no text of split train of .* has a label of a class"):
        labelled_dataset(folder, labels=nothing)


def test_no_samples_make_an_empty_batch(tmp_path: Path) -> None:
    assert labelled_dataset(write_labelled(tmp_path, {"train": texts(6)})).collater([]) == {}
