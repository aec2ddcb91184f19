"""load(): from checkpoints, whole, damaged and hostile."""

import logging
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mvlm_plugin
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.interface import VisionLanguageModel, load
from mvlm_plugin.interop.norm_eps import set_norm_eps
from mvlm_plugin.models.architectures import MvlmTinyConfig
from mvlm_plugin.models.pair_classifier import PairClassifier
from tests.helpers import tiny_config
from tests.interface.conftest import model_dictionary, save_checkpoint, tiny_model
from tests.tokenizer_folders import write_wordpiece


def change(checkpoint: Path, out: Path, section: str, **values: Any) -> Path:
    """A checkpoint with other values in a section of its configuration; None takes one away."""
    content = torch.load(checkpoint, weights_only=True)
    content["cfg"][section].update(values)
    content["cfg"][section] = {key: value for key, value in content["cfg"][section].items() if value is not None}
    torch.save(content, out)
    return out


def test_load_is_the_packages_own() -> None:
    assert mvlm_plugin.load is load


def test_a_checkpoint_gives_its_weights(model: VisionLanguageModel, databin: Path) -> None:
    expected = tiny_model(databin)
    assert not model.model.training
    assert model.image_size == 32
    assert model.device == torch.device("cpu")
    assert isinstance(model.model.cfg, MvlmTinyConfig)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], value), name


def test_loading_draws_nothing_and_says_nothing(
    checkpoint: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = torch.get_rng_state()
    with caplog.at_level(logging.INFO):
        load(checkpoint)
    assert torch.equal(torch.get_rng_state(), before)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_an_eps_of_pretrained_weights_survives_with_all_digits(databin: Path, tmp_path: Path) -> None:
    pretrained = tiny_model(databin)
    set_norm_eps(pretrained.text_encoder, 1.1e-12)
    model = load(save_checkpoint(tmp_path / "checkpoint.pt", databin, pretrained))
    assert model.model.text_encoder.embedding_norm.eps == 1.1e-12
    assert model.model.image_encoder.norm.eps == 1e-6


def test_options_of_training_alone_are_off(databin: Path, tmp_path: Path) -> None:
    trained = tiny_model(databin, checkpoint_activations="all")
    trained.cfg.compile_model = True
    model = load(save_checkpoint(tmp_path / "checkpoint.pt", databin, trained))
    assert (model.model.cfg.checkpoint_activations, model.model.cfg.compile_model) == ("", False)


def test_weights_that_the_training_started_from_are_not_read(checkpoint: Path, tmp_path: Path) -> None:
    path = change(checkpoint, tmp_path / "a.pt", "model", image_encoder_weights="gone.pth", text_encoder_weights="gone")
    assert load(path).encode_text("a dog").shape == (1, 128)


def test_a_retrieval_checkpoint_loads(databin: Path, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "checkpoint.pt", databin, task="vl_retrieval")
    assert load(path).match(torch.zeros(8, 8, 3, dtype=torch.uint8).numpy(), "a dog").shape == (1,)


def test_a_classifier_is_refused(databin: Path, tmp_path: Path) -> None:
    classifier = PairClassifier(tiny_config(), model_dictionary(databin), classes=3)
    path = save_checkpoint(tmp_path / "checkpoint.pt", databin, classifier, task="vl_entailment")
    with pytest.raises(ValueError, match=r"is a classifier \(task vl_entailment\).*mvlm-eval entailment"):
        load(path)


def test_a_data_bin_that_is_gone_can_be_given(checkpoint: Path, databin: Path, tmp_path: Path) -> None:
    path = change(checkpoint, tmp_path / "a.pt", "task", data=str(tmp_path / "gone"))
    with pytest.raises(DataBinError, match=r'gone, which cannot be read from here: pass data="data-bin/'):
        load(path)
    assert load(path, data=str(databin)).tokenizer.encode("a dog") == load(checkpoint).tokenizer.encode("a dog")
    with pytest.raises(DataBinError, match="must be the data-bin that"):
        load(checkpoint, data=str(tmp_path))


def test_of_several_data_bins_the_first_has_the_tokenizer(checkpoint: Path, databin: Path, tmp_path: Path) -> None:
    assert load(change(checkpoint, tmp_path / "a.pt", "task", data=f"{databin}{os.pathsep}gone")).image_size == 32


def test_another_dictionary_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of another shape: text_encoder\.token_embedding.*is .* the data-bin"):
        load(checkpoint, data=str(write_wordpiece(tmp_path)))


def test_another_dictionary_of_the_same_size_is_noticed(checkpoint: Path, databin: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(databin, other)
    lines = (other / "dict.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (other / "dict.txt").write_text("".join([*lines[1:], lines[0]]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"checkpoint\.pt: the checkpoint was trained with another dictionary"):
        load(checkpoint, data=str(other))


def test_missing_files_are_named(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist; give a checkpoint"):
        load(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="no folder of mvlm-export: it has no config"):
        load(tmp_path)
    with pytest.raises(ValueError, match="holds its own tokenizer"):
        load(tmp_path, data="data-bin")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("harm",)


def test_no_code_of_a_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"cfg": Harmful(), "model": {}}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match="would run code when it is loaded and is refused"):
        load("a.pt")
    with pytest.raises(ValueError, match=r"b\.pt is damaged, or no file of torch"):
        load("b.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.zeros(1)}}, "no configuration of its model"),
        ({"model": {"a": torch.zeros(1)}, "cfg": {"model": {}}}, "no configuration of its task"),
        ({"model": {"a": torch.zeros(1)}, "cfg": {"model": {}, "task": {}, "checkpoint": {}}}, "cannot be read"),
        ({"model": {}}, "holds no tensors"),
        (7, "holds a int"),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises((ValueError, DataBinError), match=message):
        load(tmp_path / "a.pt")


def test_damaged_files_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.pt").write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_encoder": "mine"}, "unknown image encoder 'mine'.*import that before load"),
        ({"mine": 7}, "options that this program does not know: mine.*import that before load"),
        ({"_name": "transformer_lm"}, "'transformer_lm' is none of this program"),
        ({"fusion_width": "128"}, "fusion_width 128 is a str in place of a int"),
        ({"fusion_width": True}, "fusion_width True is a bool"),
        ({"fusion_heads": 0}, "fusion_heads 0 must lie between 1"),
        ({"decoder_layers": -1}, "decoder_layers -1 must lie"),
        ({"image_size": 10**9}, "image_size 1000000000 must lie between 1 and 4096"),
        ({"dropout": float("nan")}, "dropout nan must lie"),
        ({"fusion_heads": 3}, "--fusion-heads 3 must divide"),
        ({"image_size": 36}, "its config makes no model: image size 36"),
        ({"image_size": 40}, r"of another shape: image_encoder\.position_embedding \(1, 17, 128\) in place of"),
        ({"fusion_layers": 3}, "missing: fusion.* more"),
        ({"fusion_layers": 1}, "unknown: fusion.* more"),
        ({"fusion_width": 65_536, "embedding_width": 65_536}, "of another shape"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    checkpoint: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load(change(checkpoint, tmp_path / "a.pt", "model", **values))


def test_options_that_an_earlier_version_lacked_have_their_default(checkpoint: Path, tmp_path: Path) -> None:
    assert load(change(checkpoint, tmp_path / "a.pt", "model", global_negatives=None)).image_size == 32


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("decode|mine()", "unknown image operation 'mine'.*operations of your own before load"),
        ("decode|__import__('os').mkdir('harm')", "neither a name nor a call"),
        ("decode|resize_exact(100000)", "from 1 to 8192"),
        ("decode|resize_exact(16)", "gives 16 x 16"),
    ],
)
def test_a_transform_that_does_not_work_is_refused(
    checkpoint: Path, tmp_path: Path, transform: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load(change(checkpoint, tmp_path / "a.pt", "task", eval_transform=transform))


def test_weights_that_are_not_finite_are_refused(databin: Path, tmp_path: Path) -> None:
    broken = tiny_model(databin)
    with torch.no_grad():
        broken.mlm_head.bias[7] = float("nan")
    with pytest.raises(ValueError, match=r"mlm_head\.bias has values that are not finite"):
        load(save_checkpoint(tmp_path / "checkpoint.pt", databin, broken))
