"""Image pipelines in the data set and the task."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.tasks.joint_masked_vl import JointMaskedVLConfig, JointMaskedVLTask
from tests.data.spots import FULL, encoded
from tests.helpers import make_dictionary, tiny_config

OPTIONS = PairOptions(image_size=32, max_tokens=16, image_mask_ratio=0.6, image_mask_block=16, text_mask_ratio=0.3)


def tokenizer(text: str) -> Any:
    """Every caption reads the same."""
    return SimpleNamespace(decode=lambda ids: text)


def open_pairs(folder: Path, split: str = "train", text: str = "a dog", **options: Any) -> JointMaskedDataset:
    """Pairs of a data-bin, image i shows encoded(i)."""
    store = PairStore(folder, split)
    store.images.read = lambda index: encoded(index, kind="JPEG")  # type: ignore[method-assign]
    chosen = OPTIONS._replace(**options)
    return JointMaskedDataset(store, make_dictionary(), chosen, 1, split == "train", tokenizer=tokenizer(text))


def images(data: JointMaskedDataset, workers: int) -> dict[int, torch.Tensor]:
    """Pixels of every pair of a pass as fairseq's trainer makes it."""
    task = JointMaskedVLTask(JointMaskedVLConfig(data="", seed=1), make_dictionary(mask=False))
    iterator = task.get_batch_iterator(data, max_sentences=7, seed=1, num_workers=workers, data_buffer_size=10)
    found = {}
    for batch in iterator.next_epoch_itr(shuffle=True):
        found |= dict(zip(batch["id"].tolist(), batch["net_input"]["images"], strict=True))
    return found


def test_any_number_of_workers_gives_equal_images(tiny_databin: Path) -> None:
    passes = [images(open_pairs(tiny_databin, train_transform=FULL), workers) for workers in (0, 1, 2)]
    assert len(passes[0]) == 48
    for other in passes[1:]:
        assert other.keys() == passes[0].keys()
        assert all(torch.equal(other[pair], passes[0][pair]) for pair in other)


def test_epochs_differ_and_repeat(tiny_databin: Path) -> None:
    data = open_pairs(tiny_databin, train_transform=FULL)
    seen = []
    for epoch in (1, 2, 1):
        data.set_epoch(epoch)
        seen.append(torch.stack([data[index].image for index in range(48)]))
    assert torch.equal(seen[0], seen[2])
    assert (seen[0] != seen[1]).flatten(1).any(dim=1).all()


def test_each_split_has_its_pipeline(tiny_databin: Path) -> None:
    options = {"train_transform": FULL, "eval_transform": "decode|resize({size})|center_crop({size})"}
    valid = open_pairs(tiny_databin, "valid", **options)
    middle = np.asarray(Image.open(io.BytesIO(encoded(0, kind="JPEG"))).resize((48, 32), Image.Resampling.BICUBIC))
    assert np.abs(valid[0].image.permute(1, 2, 0).numpy() - middle[:, 8:40].astype(int)).max() <= 1
    train = open_pairs(tiny_databin, **options)
    assert not torch.equal(train[0].image, valid[0].image)


def test_captions_that_say_left_are_not_mirrored(tiny_databin: Path) -> None:
    text = "decode|resize_exact({size})|flip(p=1)"
    plain = open_pairs(tiny_databin)
    mirrored = open_pairs(tiny_databin, train_transform=text)
    kept = open_pairs(tiny_databin, text="the dog on the left", train_transform=text)
    for index in (0, 5, 47):
        assert torch.equal(mirrored[index].image, plain[index].image.flip(2))
        assert torch.equal(kept[index].image, plain[index].image)


def test_a_pipeline_that_reads_captions_needs_a_tokenizer(tiny_databin: Path) -> None:
    with pytest.raises(ValueError, match="reads captions: give the data set a tokenizer"):
        JointMaskedDataset(
            PairStore(tiny_databin, "train"), make_dictionary(), OPTIONS._replace(train_transform=FULL), 1, train=True
        )


def test_a_random_pipeline_of_held_out_pairs_is_refused(tiny_databin: Path) -> None:
    with pytest.raises(ValueError, match="is random, and held-out images must not vary"):
        open_pairs(tiny_databin, "valid", eval_transform=FULL)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders whose tokenizer the task has loaded."""
    folders: list[Path] = []
    monkeypatch.setattr(
        "mvlm_plugin.tasks.data_source.load_tokenizer", lambda folder: folders.append(folder) or tokenizer("left")
    )
    return folders


def make_task(folder: Path, **options: Any) -> JointMaskedVLTask:
    config = JointMaskedVLConfig(data=str(folder), seed=1, **options)
    task = JointMaskedVLTask(config, make_dictionary(mask=False))
    task.build_model(OmegaConf.structured(tiny_config(_name="mvlm_tiny")))
    return task


def test_the_task_hands_pipelines_and_tokenizer_on(tiny_databin: Path, decoded: list[Path]) -> None:
    task = make_task(tiny_databin, train_transform=FULL, eval_transform="decode|resize(40)|center_crop({size})")
    for split in ("train", "valid"):
        task.load_dataset(split)
        assert task.dataset(split)[3].image.shape == (3, 32, 32)
    assert decoded == [tiny_databin]
    assert task.dataset("train")._transform.text == FULL
    assert task.dataset("valid")._transform.text == "decode|resize(40)|center_crop({size})"


def test_without_options_images_are_stretched_and_no_tokenizer_is_loaded(
    tiny_databin: Path, decoded: list[Path]
) -> None:
    task = make_task(tiny_databin)
    for split in ("train", "valid"):
        task.load_dataset(split)
        assert task.dataset(split)._transform.text == "decode|resize_exact({size})"
    assert decoded == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_transform": "decode|resize_exact(224)"}, "gives 224 x 224 pixels, the model takes 32 x 32"),
        ({"eval_transform": "decode|resize(48)"}, "gives 72 x 48 pixels, the model takes 32 x 32"),
        ({"eval_transform": "decode|flip|resize_exact({size})"}, "flip is random, and held-out images must not vary"),
        ({"train_transform": FULL, "train_crop_scale": 0.5}, "either --train-transform or --train-crop-scale"),
    ],
)
def test_wrong_options_stop_before_the_data_are_opened(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(Path("nowhere"), **options)
