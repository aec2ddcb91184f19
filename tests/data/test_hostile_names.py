"""Names in a data-bin that lead out of its folder, and manifests whose entries are of another kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.exclusion_specs import databin_hash_files, parse_specs
from mvlm_plugin.data.byte_file import map_array
from mvlm_plugin.data.databin import DataBinError, find_split, read_manifest, shard_folders
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_tokenizer
from tests.helpers import write_databin, write_shards
from tests.tokenizer_folders import write_gpt2

OUTSIDE = ["..", "../other", "/etc", "a/b", "", ".", "a\0b", "a\n"]


def change(folder: Path, **entries: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_split_or_shard_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    databin = write_databin(tmp_path / "data-bin", images=3)
    splits = read_manifest(databin)["splits"]
    change(databin, splits={**splits, name: splits["train"]})
    for read in (lambda: find_split(databin, name), lambda: PairStore(databin, "train")):
        with pytest.raises(DataBinError, match="no split can be called"):
            read()
    with pytest.raises(DataBinError, match="no split can be called"):
        databin_hash_files(parse_specs([str(databin)])[0])
    sharded = write_shards(tmp_path / "shards", [3, 3])
    change(sharded, shards=["shard0", name])
    if name != "a\n":  # a folder may be called so
        with pytest.raises(DataBinError, match=r"not a folder of its own folder|is damaged"):
            list(map(read_manifest, shard_folders(sharded)))


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"splits": None}, "no splits"),
        ({"splits": {"train": 7}}, "no splits"),
        ({"splits": {"train": {"fields": 0.5}}}, "label fields are not given by name"),
        ({"tokenizer": "sentencepiece"}, "no tokenizer"),
        ({"tokenizer": {"kind": ["sentencepiece"]}}, "no tokenizer"),
        ({"image_store": "reference", "image_root": None}, "no folder of the images"),
    ],
)
def test_a_manifest_of_other_entries_is_damaged(entries: dict[str, Any], problem: str, tmp_path: Path) -> None:
    databin = write_databin(tmp_path / "data-bin", images=3)
    change(databin, **entries)
    with pytest.raises(DataBinError, match=f"is damaged .*{problem}"):
        read_manifest(databin)


HEADER = b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize(
    "content", [b"", HEADER + b"\x08\x00{'a': (\n", HEADER + b"\x04\x00((((", b"PK\x05\x06" + bytes(18)]
)
def test_a_damaged_table_is_told_with_its_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataBinError, match=r"a\.npy cannot be read"):
        map_array(tmp_path / "a.npy")


def test_a_table_of_python_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(DataBinError, match=r"a\.npy cannot be read"):
        map_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("encoder.json", '{"a": 1}', "has no id"),
        ("encoder.json", '{"a": "1"}', "no whole number"),
        ("encoder.json", '{"a": []}', "not a GPT-2 BPE"),
        ("vocab.bpe", "#version\nr e\ne d x\n", "not of two symbols"),
        ("vocab.bpe", "#version\nr e\ne d\n", "'ed' has no id"),
    ],
)
def test_a_bpe_that_some_texts_would_break_is_refused(file: str, content: str, problem: str, tmp_path: Path) -> None:
    write_gpt2(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(DataBinError, match=problem):
        load_tokenizer(tmp_path)
