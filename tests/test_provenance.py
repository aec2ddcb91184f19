"""The record of data and versions, from the first update to an export: real trainings in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.destination import hash_files
from mvlm_plugin import ema, provenance
from mvlm_plugin.checkpoints import open_checkpoint
from mvlm_plugin.data.fingerprint import fingerprint
from mvlm_plugin.evaluate.protocol import protocol_of
from tests.helpers import write_databin
from tests.training import train


def seal(folder: Path) -> str:
    """Let the manifest list the files as mvlm-prep does; returns the fingerprint."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps(manifest | {"files": hash_files(folder, {})}))
    return fingerprint(folder)


@pytest.fixture(scope="module")
def databin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_databin(tmp_path_factory.mktemp("record") / "databin")
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def first(databin: Path) -> Path:
    """A checkpoint of two updates with averaged weights."""
    return train(databin, databin.parent / "first", "--optimizer", "adamw_parts", "--weight-ema", 0.5)


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the command prints."""
    capsys.readouterr()
    assert provenance.main([str(path)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert isinstance(record, dict)
    return record


def test_a_checkpoint_names_its_data_and_versions(
    databin: Path, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run,) = shown(first, capsys)["runs"]
    assert run["from_update"] == 0
    assert run["data"] == [{"path": str(databin), "fingerprint": fingerprint(databin)}]
    assert len(run["data"][0]["fingerprint"]) == 64
    assert run["packages"]["torch"] == torch.__version__


def test_a_resumed_training_refuses_other_data_until_it_reads_them_from_their_beginning(
    databin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train(databin, tmp_path / "run", updates=1)
    alone = shown(path, capsys)
    train(databin, tmp_path / "run", updates=2)
    assert shown(path, capsys) == alone
    other = write_databin(tmp_path / "other", images=26)
    number = seal(other)
    with pytest.raises(ValueError, match="cannot resume: the data are not those"):
        train(other, tmp_path / "run", updates=3)
    train(other, tmp_path / "run", "--reset-dataloader", updates=3)
    first, second = shown(path, capsys)["runs"]
    assert first == alone["runs"][0]
    assert (second["from_update"], second["data"]) == (2, [{"path": str(other), "fingerprint": number}])


def test_a_finetuned_model_names_where_it_began(
    databin: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train(databin, tmp_path / "tuned", "--finetune-from-model", first, updates=1, task="vl_retrieval")
    record = shown(path, capsys)
    assert record["start"] == {"checkpoint": str(first), **shown(first, capsys)}
    assert [run["from_update"] for run in record["runs"]] == [0]
    train(databin, tmp_path / "tuned", "--finetune-from-model", first, updates=2, task="vl_retrieval")
    assert shown(path, capsys) == record


def test_a_checkpoint_without_record_can_be_resumed_and_read(
    databin: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(first)
    del state["extra_state"]["provenance"]
    path = tmp_path / "run" / "checkpoint_last.pt"
    path.parent.mkdir()
    torch.save(state, path)
    model, task = open_checkpoint(str(path), str(databin))
    assert "made_with" not in protocol_of(str(path), task, model)
    train(databin, path.parent, "--optimizer", "adamw_parts", "--weight-ema", 0.5, updates=3)
    assert [run["from_update"] for run in shown(path, capsys)["runs"]] == [2]


def test_averages_and_evaluations_keep_the_record(
    databin: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = shown(first, capsys)
    averaged = tmp_path / "ema.pt"
    assert ema.main(["--path", str(first), "--out", str(averaged)]) == 0
    assert shown(averaged, capsys) == record
    model, task = open_checkpoint(str(averaged), str(databin))
    made_with = protocol_of(str(averaged), task, model)["made_with"]
    assert f"torch {torch.__version__}; data {databin}: {fingerprint(databin)[:12]}" in made_with
