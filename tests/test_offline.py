"""Training, validation, evaluation and load() ask no other machine for anything."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from fairseq_cli import train as fairseq_train
from fairseq_cli import validate as fairseq_validate

import mvlm_plugin
from mvlm_plugin.checkpoints import open_checkpoint
from tests.helpers import write_databin
from tests.tokenizer_folders import write_sentencepiece

PLUGIN = str(Path(mvlm_plugin.__file__).parent)
COMMON = ["--user-dir", PLUGIN, "--task", "joint_masked_vl", "--cpu", "--batch-size", "8"]
TRAIN = ["--arch", "mvlm_tiny", "--criterion", "joint_masked_vl", "--optimizer", "adam", "--lr", "1e-3"]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"asked for another machine: {args}")

    connect = socket.socket.connect
    # Worker processes of this machine talk through sockets with a path for an address.
    monkeypatch.setattr(
        socket.socket,
        "connect",
        lambda self, address: connect(self, address) if isinstance(address, str | bytes) else refuse(address),
    )
    monkeypatch.setattr(socket.socket, "sendto", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def test_a_model_is_trained_and_used_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="another machine"):
        socket.create_connection(("127.0.0.1", 9))
    databin = write_databin(tmp_path / "data-bin")
    run = [*TRAIN, "--max-update", "1", "--save-dir", str(tmp_path / "save"), "--disable-validation"]
    monkeypatch.setattr(sys, "argv", ["fairseq-train", str(databin), *COMMON, *run])
    fairseq_train.cli_main()
    checkpoint = tmp_path / "save" / "checkpoint_last.pt"
    validation = ["--path", str(checkpoint), "--valid-subset", "valid"]
    monkeypatch.setattr(sys, "argv", ["fairseq-validate", str(databin), *COMMON, *validation])
    fairseq_validate.cli_main()
    model, _ = open_checkpoint(str(checkpoint), str(databin))
    assert not model.training
    # load() needs a tokenizer that the data-bin of this test has not.
    tokenizer = write_sentencepiece(tmp_path)
    (tokenizer / "dict.txt").write_bytes((databin / "dict.txt").read_bytes())
    assert mvlm_plugin.load(checkpoint, data=str(tokenizer), device="cpu").image_size == 64
