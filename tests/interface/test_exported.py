"""Folders of mvlm-export: equal outputs, and nothing of them is believed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from mvlm_plugin.export import export
from mvlm_plugin.interface import VisionLanguageModel, load
from mvlm_plugin.interface.checkpoint import read_checkpoint
from mvlm_plugin.interface.exported import read_export, write_export
from mvlm_plugin.interface.saved import build_model
from mvlm_plugin.interop.norm_eps import set_norm_eps
from mvlm_plugin.models.mvlm import MvlmModel
from tests.interface.conftest import model_dictionary, save_checkpoint, tiny_model
from tests.interface.test_pictures import picture
from tests.tokenizer_folders import write_gpt2, write_wordpiece


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "folder"
    export(checkpoint, folder)
    return folder


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """An exported folder that a test may damage."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def outputs(model: VisionLanguageModel) -> list[Any]:
    """What all methods give."""
    images, texts = [picture(seed=1), picture(seed=2)], ["two dogs", "a red square"]
    return [
        model.encode_image(images).tolist(),
        model.encode_text(texts).tolist(),
        model.match(images, texts).tolist(),
        model.fill_mask(images[0], "a [MASK] dog"),
        np.asarray(model.reconstruct(images[0], texts[0], np.eye(4, dtype=bool))).tolist(),
    ]


def test_an_export_gives_equal_outputs(model: VisionLanguageModel, exported: Path) -> None:
    assert outputs(load(exported, device="cpu")) == outputs(model)


def test_an_export_is_complete_and_holds_no_pickle(exported: Path, copied: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        "config.json", "model.safetensors", "dict.txt", "tokenizer.spm",
    }  # fmt: skip
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1
    config = json.loads((exported / "config.json").read_text())
    assert (config["format_version"], config["architecture"], config["tokenizer"]) == (1, "mvlm_tiny", "sentencepiece")
    assert config["model"]["image_size"] == 32
    assert config["training"]["stage"] == "pre-trained only"
    assert config["training"]["updates"] == 7
    assert outputs(load(copied, device="cpu")) == outputs(load(exported, device="cpu"))


def test_what_made_the_checkpoint_goes_along(checkpoint: Path, tmp_path: Path) -> None:
    entries = [{"path": f"shard{number}", "fingerprint": "0" * 64} for number in range(200)]
    record = {"runs": [{"from_update": 0, "data": entries, "packages": {"torch": "2.6"}}]}
    state = torch.load(checkpoint)
    torch.save({**state, "extra_state": {"provenance": record}}, tmp_path / "recorded.pt")
    export(tmp_path / "recorded.pt", tmp_path / "exported")
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["training"]["provenance"] == record
    assert read_export(tmp_path / "exported").training["provenance"] == record
    torch.save({**state, "extra_state": {"provenance": 7}}, tmp_path / "damaged.pt")
    with pytest.raises(ValueError, match="record of data and versions is damaged"):
        read_checkpoint(tmp_path / "damaged.pt")


@pytest.mark.parametrize("write", [write_gpt2, write_wordpiece])
def test_every_tokenizer_goes_along(write: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "data-bin").mkdir()
    databin = write(tmp_path / "data-bin")
    path = save_checkpoint(tmp_path / "checkpoint.pt", databin, eval_transform="decode|resize({size})|center_crop(32)")
    export(path, tmp_path / "exported")
    expected = outputs(load(path, device="cpu"))
    shutil.rmtree(databin)
    model = load(tmp_path / "exported", device="cpu")
    assert outputs(model) == expected
    assert torch.equal(model.pixels(picture(64, 32)), load(tmp_path / "exported").pixels(picture(64, 32)))
    assert model.tokenizer.decode(model.tokenizer.encode("a dog")) == "a dog"


def test_the_eps_of_pretrained_weights_goes_along(databin: Path, tmp_path: Path) -> None:
    pretrained = tiny_model(databin)
    set_norm_eps(pretrained.text_encoder, 1.1e-12)
    export(save_checkpoint(tmp_path / "checkpoint.pt", databin, pretrained), tmp_path / "exported")
    model = load(tmp_path / "exported").model
    assert model.text_encoder.embedding_norm.eps == 1.1e-12
    assert model.image_encoder.norm.eps == 1e-6


def test_a_weight_with_two_names_is_written_under_both(checkpoint: Path, databin: Path, tmp_path: Path) -> None:
    saved = read_checkpoint(checkpoint)
    tied = build_model(saved, model_dictionary(databin))
    tied.fusion.image_stream.norm = tied.fusion.text_stream.norm
    write_export(saved, tied, "0", tmp_path / "exported")
    read = load(tmp_path / "exported").model.state_dict()
    assert torch.equal(read["fusion.image_stream.norm.weight"], tied.fusion.text_stream.norm.weight)
    assert torch.equal(read["fusion.text_stream.norm.weight"], tied.fusion.text_stream.norm.weight)


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": None}, "was not written by mvlm-export"),
        ({"format_version": 2, "package_version": "9.9"}, r"format version 2, this mvlm-plugin reads 1: .*\(9\.9\)"),
        ({"format_version": "1"}, "format version 1, this"),
        ({"model": None}, "missing entries: model; unknown entries: none"),
        ({"mine": 7}, "missing entries: none; unknown entries: mine"),
        ({"model": []}, "model is no dict"),
        ({"architecture": 7}, "architecture is no str"),
        ({"eval_transform": "decode|" * 1000}, "eval_transform is no str, or too long"),
        ({"training": {"stage": "x" * 1_000_000}}, "training is no dict, or too long"),
        ({"model": {"fusion": "x" * 10_000}}, "model is no dict, or too long"),
        ({"tokenizer": "../../x"}, r"unknown tokenizer '\.\./\.\./x'"),
        ({"tokenizer": "gpt2_bpe"}, r"lacks encoder\.json"),
        ({"architecture": "mine", "model": {"mine": 7}}, "architecture 'mine' has options.*: mine"),
        ({"eval_transform": "decode|__import__('os')"}, "unknown image operation '__import__'"),
    ],
)
def test_a_damaged_or_hostile_config_is_refused(copied: Path, values: dict[str, Any], message: str) -> None:
    change_config(copied, **values)
    with pytest.raises(ValueError, match=message):
        load(copied)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_encoder": "mine"}, "unknown image encoder 'mine'"),
        ({"image_encoder": ["vit"]}, "is a list in place of a str"),
        ({"dropout": float("inf")}, "must lie between 0 and 1"),
        ({"fusion_width": 10**15}, "must lie between 1 and 65536"),
        ({"fusion_width": 65_536, "image_size": 4096}, "of another shape"),
    ],
)
def test_sizes_and_components_are_not_believed(
    copied: Path, values: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((copied / "config.json").read_text())
    change_config(copied, model=config["model"] | values)
    monkeypatch.setattr("mvlm_plugin.interface.exported._tensors", lambda path: pytest.fail("weights were read"))
    with pytest.raises(ValueError, match=message):
        load(copied)


def test_a_model_takes_memory_only_when_its_weights_are_there(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []
    init = MvlmModel.__init__

    def watched(self: MvlmModel, *arguments: Any) -> None:
        init(self, *arguments)
        devices.append(next(self.parameters()).device.type)

    monkeypatch.setattr(MvlmModel, "__init__", watched)
    load(copied)
    config = json.loads((copied / "config.json").read_text())
    change_config(copied, model=config["model"] | {"fusion_layers": 5})
    with pytest.raises(ValueError, match="missing: fusion"):
        load(copied)
    assert devices == ["meta", "cpu", "meta"]


def nan(tensors: dict[str, Tensor]) -> None:
    tensors["mlm_head.bias"][0] = float("nan")


def half(tensors: dict[str, Tensor]) -> None:
    tensors["mlm_head.bias"] = tensors["mlm_head.bias"].half()


def missing(tensors: dict[str, Tensor]) -> None:
    del tensors["mlm_head.bias"]


def extra(tensors: dict[str, Tensor]) -> None:
    tensors["mine"] = torch.zeros(1)


def misshaped(tensors: dict[str, Tensor]) -> None:
    tensors["mlm_head.bias"] = tensors["mlm_head.bias"][None]


def zero_eps(tensors: dict[str, Tensor]) -> None:
    tensors["text_encoder.norm_eps"] = torch.tensor(0.0, dtype=torch.float64)


def large_eps(tensors: dict[str, Tensor]) -> None:
    tensors["text_encoder.norm_eps"] = torch.zeros(7, dtype=torch.float64)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan, r"mlm_head\.bias has values that are not finite"),
        (half, r"mlm_head\.bias is of type torch\.float16 in place of torch\.float32"),
        (missing, r"missing: mlm_head\.bias$"),
        (extra, "unknown: mine$"),
        (misshaped, r"of another shape: mlm_head\.bias \(1, \d+\) in place of"),
        (zero_eps, r"text_encoder\.norm_eps is 0\.0"),
        (large_eps, r"unknown: text_encoder\.norm_eps"),
    ],
)
def test_damaged_weights_are_refused(copied: Path, damage: Callable[[dict[str, Tensor]], None], message: str) -> None:
    tensors = safetensors.torch.load_file(copied / "model.safetensors")
    damage(tensors)
    safetensors.torch.save_file(tensors, copied / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        load(copied)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{}", None])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.spm", "dict.txt"])
def test_damaged_files_are_refused(copied: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (copied / name).unlink()
    else:
        (copied / name).write_bytes(content)
    with pytest.raises((ValueError, RuntimeError), match=r"damaged|cannot be read|no folder|lacks|not |do not fit"):
        load(copied)


def test_cut_weights_are_refused(copied: Path) -> None:
    content = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load(copied)


def test_huge_files_of_a_tokenizer_are_refused(copied: Path) -> None:
    with open(copied / "dict.txt", "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"dict\.txt has more than 64 MiB"):
        read_export(copied)
