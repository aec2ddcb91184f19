import json
from pathlib import Path

import pytest

from mvlm_plugin.data.databin import DataBinError, find_split, read_manifest, shard_folders
from mvlm_plugin.data.store import PairStore
from tests.helpers import write_shards


def test_aliases_of_a_split_are_found(tiny_databin: Path) -> None:
    assert [find_split(tiny_databin, name) for name in ("valid", "val", "dev", "validation")] == ["valid"] * 4
    assert find_split(tiny_databin, "train") == "train"


def test_a_split_of_the_very_name_comes_before_an_alias(tiny_databin: Path) -> None:
    path = tiny_databin / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["splits"]["dev"] = {}
    path.write_text(json.dumps(manifest))
    assert find_split(tiny_databin, "dev") == "dev"


def test_an_unknown_split_lists_those_there_are(tiny_databin: Path) -> None:
    with pytest.raises(DataBinError, match="no split 'test'; it has: train, valid"):
        find_split(tiny_databin, "test")


def test_a_folder_without_manifest_is_no_databin(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match="is not a data-bin: it has no manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "\ufffe", "[" * 100_000])
def test_a_damaged_manifest_is_refused(tiny_databin: Path, text: str) -> None:
    (tiny_databin / "manifest.json").write_text(text, encoding="utf-16" if text == "\ufffe" else "utf-8")
    with pytest.raises(DataBinError, match="is damaged"):
        read_manifest(tiny_databin)


@pytest.mark.parametrize("manifest", [[], 3, {}, {"format_version": 1}, {"format_version": "2"}])
def test_another_format_is_refused(tiny_databin: Path, manifest: object) -> None:
    (tiny_databin / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataBinError, match="this mvlm-plugin reads 2"):
        read_manifest(tiny_databin)


def test_a_folder_stands_for_its_shards(tmp_path: Path, tiny_databin: Path) -> None:
    sharded = write_shards(tmp_path / "sharded", [2, 3])
    assert shard_folders(sharded) == [sharded / "shard0", sharded / "shard1"]
    assert shard_folders(tiny_databin) == [tiny_databin]
    with pytest.raises(DataBinError, match=r"is a sharded data-bin: name one of its shards, e\.g\. .*shard0"):
        PairStore(sharded, "train")


@pytest.mark.parametrize("shards", [[], "shard0", [".."], ["../other"], ["/shard0"], [3], [""]])
def test_a_damaged_list_of_shards_is_refused(tmp_path: Path, shards: object) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 2, "shards": shards}))
    with pytest.raises(DataBinError, match="shard"):
        shard_folders(tmp_path)
