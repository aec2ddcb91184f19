"""Every command that opens a checkpoint or weights refuses one that would run code, in one line; none of it runs."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_cli import train as fairseq_train
from fairseq_cli import validate as fairseq_validate
from torch.serialization import get_safe_globals

import mvlm_plugin
from mvlm_plugin import ema, export, reconstruct
from mvlm_plugin.checkpoints import ALLOWED, open_checkpoint
from mvlm_plugin.demo import command as demo
from mvlm_plugin.evaluate import command as evaluate
from tests.helpers import write_databin
from tests.hostile_checkpoints import FORMS, write_trap

REFUSED = "would run code when it is loaded and is refused"
Road = Callable[[Path, Path, pytest.MonkeyPatch], None]


def _fairseq(main: Callable[[], None], *options: object) -> Road:
    """A command of fairseq; CKPT among its options is the file."""

    def run(path: Path, data: Path, patch: pytest.MonkeyPatch) -> None:
        given = [str(path if option == "CKPT" else option) for option in options]
        common = ["--user-dir", str(Path(mvlm_plugin.__file__).parent), "--task", "joint_masked_vl", "--cpu"]
        patch.setattr(sys, "argv", ["fairseq", str(data), *common, "--batch-size", "4", *given])
        main()

    return run


def _train(*options: object) -> Road:
    return _fairseq(
        fairseq_train.cli_main, "--arch", "mvlm_tiny", "--criterion", "joint_masked_vl", "--optimizer", "adam",
        "--lr", "1e-3", "--max-update", "1", "--no-save", *options,
    )  # fmt: skip


def _planted(path: Path, data: Path, patch: pytest.MonkeyPatch) -> None:
    """A run that goes on finds its checkpoint_last.pt by itself."""
    path.rename(path.with_name("checkpoint_last.pt"))
    _train("--save-dir", path.parent)(path, data, patch)


def _command(main: Callable[[list[str]], int], *options: str) -> Road:
    """A command of ours, which prints its error and returns 2; CKPT and DATA stand for the file and the data-bin."""

    def run(path: Path, data: Path, patch: pytest.MonkeyPatch) -> None:
        if main is demo.main:
            pytest.importorskip("gradio")
        values = {"CKPT": str(path), "DATA": str(data), "OUT": str(path.with_name("out"))}
        assert main([values.get(option, option) for option in options]) == 2
        raise ValueError  # as told on the error stream

    return run


def _load(path: Path, data: Path, patch: pytest.MonkeyPatch) -> None:
    mvlm_plugin.load(path)


_EVAL = ("--path", "CKPT", "--data", "DATA", "--subset", "valid")
ROADS: dict[str, Road] = {
    "fairseq-validate": _fairseq(fairseq_validate.cli_main, "--path", "CKPT", "--valid-subset", "valid"),
    "mvlm-eval retrieval": _command(evaluate.main, "retrieval", *_EVAL),
    "mvlm-eval vqa": _command(evaluate.main, "vqa", *_EVAL),
    "mvlm-eval nlvr2": _command(evaluate.main, "nlvr2", *_EVAL),
    "mvlm-eval entailment": _command(evaluate.main, "entailment", *_EVAL),
    "mvlm-eval grounding": _command(evaluate.main, "grounding", *_EVAL),
    "mvlm-eval zero-shot": _command(evaluate.main, "zero-shot", "--path", "CKPT", "--data", "DATA", "--images", "DATA"),
    "mvlm-reconstruct": _command(reconstruct.main, *_EVAL, "--out", "OUT"),
    "mvlm-export": _command(export.main, "--path", "CKPT", "--out", "OUT"),
    "mvlm-demo": _command(demo.main, *_EVAL, "--port", "0"),
    "load()": _load,
    "fairseq-train --restore-file": _train("--restore-file", "CKPT"),
    "fairseq-train --finetune-from-model": _train("--finetune-from-model", "CKPT", "--save-dir", "/nowhere"),
    "fairseq-train, own last": _planted,
    "fairseq-train --image-encoder-weights": _train("--image-encoder-weights", "CKPT"),
    "fairseq-train --text-encoder-weights": _train("--text-encoder-weights", "CKPT"),
    "python -m mvlm_plugin.ema": _command(ema.main, "--path", "CKPT", "--out", "OUT"),
}


@pytest.fixture(scope="module")
def databin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_databin(tmp_path_factory.mktemp("data") / "data-bin", images=4)


@pytest.fixture(autouse=True)
def _process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """fairseq's commands run in this process. The environment asks torch to trust every file, as old programs need."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)


def _content(databin: Path) -> dict[str, Any]:
    """What a checkpoint of a training on the data-bin holds, as far as it is read before the weights are."""
    history = {"criterion_name": "JointMaskedVLCriterion", "optimizer_name": "FairseqAdam", "num_updates": 7}
    return {
        "args": None,
        "cfg": {
            "task": {"_name": "joint_masked_vl", "data": str(databin)},
            "model": {"_name": "mvlm_tiny"},
            "criterion": {"_name": "joint_masked_vl"},
            "checkpoint": {},
        },
        "model": {"weight": torch.zeros(1)},
        "optimizer_history": [{**history, "lr_scheduler_state": {}}],
        "extra_state": {"train_iterator": {"epoch": 1}},
    }


def _error_of(road: str, path: Path, data: Path, patch: pytest.MonkeyPatch, printed: Callable[[], Any]) -> str:
    """What a command says of a file that it refuses; one line."""
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the message is looked at by the caller)
        ROADS[road](path, data, patch)
    message = str(raised.value) or printed().err.strip()
    assert "\n" not in message, message
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return message


@pytest.mark.parametrize("form", FORMS)
def test_the_traps_of_this_test_work(form: str, databin: Path, tmp_path: Path) -> None:
    path = write_trap(tmp_path / "c.pt", _content(databin), form, tmp_path / "sprung")
    torch.load(path, weights_only=False)
    assert (tmp_path / "sprung").exists()


# Each road with one form, and each form on the roads that differ in how they read a file.
CASES = [(road, "optimizer state") for road in ROADS] + [
    (road, form)
    for road in ("fairseq-validate", "fairseq-train, own last", "mvlm-eval retrieval", "load()")
    for form in FORMS
    if form != "optimizer state"
]


@pytest.mark.parametrize(("road", "form"), CASES)
def test_no_command_runs_code_of_a_checkpoint(
    road: str,
    form: str,
    databin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_trap(tmp_path / "c.pt", _content(databin), form, tmp_path / "sprung")
    message = _error_of(road, path, databin, monkeypatch, capsys.readouterr)
    assert REFUSED in message
    assert str(tmp_path) in message
    assert not (tmp_path / "sprung").exists()


def _evaluated(part: str, mark: Path) -> dict[str, Any]:
    """A configuration with which a part of fairseq itself would make a file: it evaluates an option."""
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    return {
        "task": {"_name": "audio_pretraining", "data": "/"},
        "model": {"_name": "wav2vec2", "conv_feature_layers": code},
        "criterion": {"_name": "ctc", "wer_args": code},
        "model by its architecture": {"arch": "wav2vec2", "conv_feature_layers": code},
        "model by its only entry": {"wav2vec2": {"conv_feature_layers": code}},
        "task by an entry of old": {"_name": "joint_masked_vl", "task": "audio_pretraining", "data": "/"},
    }[part]


PARTS = [
    "task",
    "model",
    "criterion",
    "model by its architecture",
    "model by its only entry",
    "task by an entry of old",
]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("road", ["fairseq-validate", "mvlm-eval retrieval"])
def test_no_part_of_fairseq_that_evaluates_its_options_is_built(
    road: str,
    part: str,
    databin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = _content(databin)
    mark = tmp_path / "sprung"
    content["cfg"] |= {name: _evaluated(name, mark) for name in ("task", "model")} if part == "model" else {}
    content["cfg"][part.partition(" ")[0]] = _evaluated(part, mark)
    torch.save(content, tmp_path / "c.pt")
    message = _error_of(road, tmp_path / "c.pt", databin, monkeypatch, capsys.readouterr)
    assert "is no checkpoint of this program: it names the " in message
    assert not mark.exists()


def test_options_of_an_old_fairseq_build_nothing(databin: Path, tmp_path: Path) -> None:
    content = {**_content(databin), "args": argparse.Namespace(task="audio_pretraining", arch="wav2vec2", data="/")}
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="it holds the options of an old fairseq"):
        open_checkpoint(str(tmp_path / "c.pt"), str(databin))


def test_nothing_but_what_fairseq_needs_is_allowed() -> None:
    assert [kind for kind in get_safe_globals() if getattr(kind, "__module__", "") == "argparse"] == list(ALLOWED)
