"""Weights by the options of the model: the same outputs as their source's, or an error in full."""

import hashlib
import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.interop.reading import WeightsError
from mvlm_plugin.models.config import PACKAGED
from mvlm_plugin.modules.pixels import DEVIATION, MEAN
from tests.helpers import make_dictionary, make_model, roughen, tiny_config
from tests.interop.sources import assert_close, hf_text, hf_vit, loaded
from tests.timm_helper import import_timm


@pytest.mark.parametrize("form", ["folder", "file", "sharded"])
def test_an_image_encoder_from_transformers(transformers: ModuleType, tmp_path: Path, form: str) -> None:
    theirs = hf_vit(transformers)
    folder = tmp_path / "vit"
    theirs.save_pretrained(folder, **({"max_shard_size": "300KB"} if form == "sharded" else {}))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    path = folder / "model.safetensors" if form == "file" else folder
    model, records = loaded(tmp_path, image_encoder_weights=str(path))
    pixels = torch.rand(2, 3, 32, 32)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    with torch.no_grad():
        expected = theirs((pixels - 0.5) / 0.5).last_hidden_state
        assert_close(model.image_encoder((pixels - mean) / deviation), expected)
    files = sorted(folder.glob("model*.safetensors"))
    assert (len(files) > 1) == (form == "sharded")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    count = len(model.image_encoder.state_dict()) - 1
    assert records == {
        "image_encoder": {"format": "Hugging Face ViT", "file": path.name, "sha256": digest, "tensors": count}
    }


def test_what_is_new_and_what_is_left_is_logged(
    transformers: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = {**hf_vit(transformers).state_dict(), "classifier.weight": torch.zeros(3, 128)}
    save_file(state, tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO):
        loaded(tmp_path, image_encoder_weights=str(tmp_path / "w.safetensors"))
    assert "left behind: classifier.weight" in caplog.text
    assert "new, not in the weights: mask_token" in caplog.text
    assert "nothing beside the weights says how the source's images were normalised" in caplog.text


def test_weights_of_a_larger_image_are_interpolated(transformers: ModuleType, tmp_path: Path) -> None:
    theirs = hf_vit(transformers, image_size=48)
    theirs.save_pretrained(tmp_path / "vit")
    model, _ = loaded(tmp_path, image_encoder_weights=str(tmp_path / "vit"))
    assert model.image_encoder.position_embedding.shape == (1, 17, 128)
    assert_close(model.image_encoder.position_embedding[:, 0], theirs.embeddings.position_embeddings[:, 0])


def test_mismatches_are_an_error_in_full_unless_allowed(
    transformers: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = hf_vit(transformers).state_dict()
    state["layers.3.mlp.fc1.bias"] = torch.zeros(7)
    state["layers.0.lambda_1"] = torch.zeros(2)
    state["layernorm.bias"] = torch.full((128,), float("nan"))
    del state["layernorm.weight"], state["embeddings.cls_token"]
    torch.save(state, tmp_path / "w.pth")
    problems = [
        "missing: cls_token (1, 1, 128)",
        "missing: norm.weight (128,)",
        "not finite: norm.bias",
        "unexpected: layers.0.lambda_1 (2,)",
        "wrong shape: blocks.3.feed_forward.0.bias is (7,) in the file, (512,) in the model",
    ]
    with pytest.raises(WeightsError) as caught:
        loaded(tmp_path, image_encoder_weights=str(tmp_path / "w.pth"))
    first, *lines = str(caught.value).splitlines()
    assert "5 mismatches with --image-encoder vit_tiny_patch8" in first
    assert "--allow-weight-mismatch" in first
    assert sorted(line.strip() for line in lines) == problems
    model, records = loaded(tmp_path, image_encoder_weights=str(tmp_path / "w.pth"), allow_weight_mismatch=True)
    assert all(f"mismatch allowed: {problem}" in caplog.text for problem in problems)
    assert torch.equal(model.image_encoder.blocks[3].feed_forward[2].bias, state["layers.3.mlp.fc2.bias"])
    assert torch.isfinite(model.image_encoder.norm.bias).all()
    assert records["image_encoder"]["tensors"] == len(model.image_encoder.state_dict()) - 5


def test_weights_of_another_size_name_it(transformers: ModuleType, tmp_path: Path) -> None:
    hf_vit(transformers, hidden_size=64).save_pretrained(tmp_path / "vit")
    with pytest.raises(WeightsError, match=r"vit_tiny_patch8; the source has 4 blocks of width 64: choose"):
        loaded(tmp_path, image_encoder_weights=str(tmp_path / "vit"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"num_attention_heads": 8}, "8 attention heads in the file, 4 in the model"),
        ({"hidden_act": "quick_gelu"}, "activation quick_gelu in the file"),
    ],
)
def test_what_weights_do_not_show_is_read_from_the_config(
    transformers: ModuleType, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    hf_vit(transformers, **options).save_pretrained(tmp_path / "vit")
    with pytest.raises(WeightsError, match=problem):
        loaded(tmp_path, image_encoder_weights=str(tmp_path / "vit"))
    hf_text(transformers, "Roberta", 45, **options).save_pretrained(tmp_path / "text")
    with pytest.raises(WeightsError, match=problem):
        loaded(tmp_path, text_encoder_weights=str(tmp_path / "text"))


def test_missing_files_say_that_a_resumed_run_needs_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"--text-encoder-weights roberta-base: no such file.*resumes.*leave"):
        loaded(tmp_path, text_encoder_weights="roberta-base")


def test_an_encoder_of_another_kind_takes_its_own_names(tmp_path: Path) -> None:
    cfg = tiny_config(image_encoder_weights=str(tmp_path / "w.pth"))
    model = make_model(cfg)
    model.image_encoder = torch.nn.Linear(3, 2)
    torch.save({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, tmp_path / "w.pth")
    records = load_pretrained(model, cfg, make_dictionary(), tmp_path)
    assert torch.equal(model.image_encoder.weight, torch.ones(2, 3))
    assert records["image_encoder"]["format"] == "names of the encoder"
    torch.save({"weight": torch.ones(2, 3), "b": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"2 mismatches.*\n  unexpected: b \(2,\)\n  missing: bias \(2,\)$"):
        load_pretrained(model, cfg, make_dictionary(), tmp_path)


def test_a_timm_encoder_takes_timms_names(tmp_path: Path) -> None:
    timm = import_timm()
    theirs = roughen(timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32), 0.05).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    cfg = tiny_config(image_encoder="timm:vit_tiny_patch16_224", image_encoder_weights=str(tmp_path / "w.pth"))
    model = make_model(cfg).eval()
    load_pretrained(model, cfg, make_dictionary(), tmp_path)
    images, encoder = torch.randn(2, 3, 32, 32), model.image_encoder
    with torch.no_grad():
        expected = theirs.forward_features(encoder.rescale(images))
        assert_close(encoder(images), expected)


def test_packaged_weights_are_those_of_the_encoders_package(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="--image-encoder-weights packaged: no package carries weights"):
        loaded(tmp_path, image_encoder_weights=PACKAGED)
    cfg = tiny_config(image_encoder_weights=PACKAGED)
    model = make_model(cfg)
    state = make_model(cfg, seed=1).image_encoder.state_dict()
    model.image_encoder = Packaged(tmp_path / "own.pth", model.image_encoder)
    torch.save({f"old.{name}": tensor for name, tensor in state.items() if name != "norm.bias"}, tmp_path / "own.pth")
    records = load_pretrained(model, cfg, make_dictionary(), tmp_path)
    assert (records["image_encoder"]["format"], records["image_encoder"]["file"]) == ("packed", "own.pth")
    assert torch.equal(model.image_encoder.inner.cls_token, state["cls_token"])


class Packaged(torch.nn.Module):
    """An encoder of another kind whose weights have other names and come with it."""

    weights_format = "packed"
    new_parameters = ("inner.norm.bias",)

    def __init__(self, path: Path, inner: torch.nn.Module) -> None:
        super().__init__()
        self.path, self.inner = path, inner

    def packaged_weights(self) -> Path:
        return self.path

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.replace("old.", "inner."): tensor for name, tensor in state.items()}
