"""A run that is given a checkpoint or data of another kind ends with an error that says so."""

import json
import shutil
from pathlib import Path

import pytest

from mvlm_plugin.checkpointing import CheckpointError
from mvlm_plugin.data.databin import DataBinError
from tests.guards.runs import train
from tests.helpers import write_databin, write_shards


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data-bin and a run of one update."""
    folder = tmp_path_factory.mktemp("started")
    train(write_databin(folder / "databin"), folder / "run", updates=1)
    return folder


def with_other_words(folder: Path, out: Path) -> Path:
    """A copy of a data-bin whose dictionary has the same symbols in another order."""
    shutil.copytree(folder, out)
    lines = (out / "dict.txt").read_text().splitlines(keepends=True)
    (out / "dict.txt").write_text("".join(reversed(lines)))
    return out


@pytest.mark.parametrize("way", ["resumed", "fine-tuned"])
def test_a_data_bin_of_another_tokenizer_of_the_same_size_is_refused(started: Path, tmp_path: Path, way: str) -> None:
    other = with_other_words(started / "databin", tmp_path / "other")
    save_dir = tmp_path / "run"
    more = {"checkpoint__finetune_from_model": str(started / "run" / "checkpoint_last.pt")}
    if way == "resumed":
        shutil.copytree(started / "run", save_dir)
        more = {}
    with pytest.raises(
        CheckpointError, match="trained with another dictionary, whose symbols differ or are in another order"
    ):
        train(other, save_dir, updates=2, **more)


def test_a_checkpoint_of_another_architecture_is_refused(started: Path, tmp_path: Path) -> None:
    shutil.copytree(started / "run", tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"(?s)Cannot load model parameters.*Missing key.*image_stream\.blocks\.1\."
    ):
        train(started / "databin", tmp_path / "run", updates=2, model__fusion_layers=2)


def test_a_data_bin_of_a_newer_format_is_refused(started: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(started / "databin", newer)
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps(manifest | {"format_version": manifest["format_version"] + 1}))
    with pytest.raises(DataBinError, match="has data-bin format 3, this mvlm-plugin reads 2"):
        train(newer, tmp_path / "run", updates=1)


def test_a_shard_that_is_missing_ends_the_run_before_its_turn_comes(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [6, 6])
    shutil.rmtree(shards / "shard1")
    with pytest.raises(DataBinError, match="shard1 is not a data-bin: it has no manifest"):
        train(shards, tmp_path / "run", updates=1)
