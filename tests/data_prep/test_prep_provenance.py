"""The manifest says what made a data-bin, and has one number for what is in it."""

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from prep_helpers import Source, manifest_of, write_image

from data_prep.cli import main
from mvlm_plugin.data.fingerprint import fingerprint, joined_fingerprint

RunPrepare = Callable[..., Path]


def test_the_manifest_names_source_options_and_versions(source: Source, prepare: RunPrepare) -> None:
    manifest = manifest_of(prepare(source.write()))
    assert manifest["made_with"]["mvlm_plugin_version"] == version("mvlm-plugin")
    packages = manifest["made_with"]["packages"]
    assert {name: packages[name] for name in ("numpy", "pillow", "sentencepiece")} == {
        name: version(name) for name in ("numpy", "pillow", "sentencepiece")
    }
    assert "torch" not in packages  # preparation does not use it
    assert manifest["source"]["kind"] == "tsv"
    assert manifest["source"]["files"]["captions"] == "captions.tsv"
    assert manifest["request"]["tokenizer"]["vocab_size"] == 60


def test_the_fingerprint_is_that_of_the_data_alone(source: Source, prepare: RunPrepare) -> None:
    arguments = source.write()
    first = manifest_of(prepare(arguments))["fingerprint"]
    assert len(first) == 64
    assert manifest_of(prepare([*arguments, "--workers", "2"], name="again"))["fingerprint"] == first
    write_image(source.images / "3.png", 77)
    assert manifest_of(prepare(arguments, name="image"))["fingerprint"] != first
    write_image(source.images / "3.png", 3)
    assert manifest_of(prepare(arguments, name="back"))["fingerprint"] == first
    source.captions[0] = (source.captions[0][0], "a brown dog")
    assert manifest_of(prepare(source.write(), name="caption"))["fingerprint"] != first


def test_shards_have_their_own_and_one_together(source: Source, prepare: RunPrepare) -> None:
    folder = prepare(source.write(), "--shards", "2")
    shards = [manifest_of(folder / name)["fingerprint"] for name in ("shard0", "shard1")]
    assert shards == [fingerprint(folder / name) for name in ("shard0", "shard1")]
    assert shards[0] != shards[1]
    assert manifest_of(folder)["fingerprint"] == joined_fingerprint(shards)


def test_images_that_moved_are_the_same_data(
    source: Source, prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write(), "--image-store", "reference")
    before = manifest_of(databin)
    copied = tmp_path / "copied"
    shutil.copytree(source.folder, copied, copy_function=shutil.copyfile)  # files of now, in another place
    shutil.rmtree(source.folder)
    assert main(["relink", str(databin), "--images", str(copied), "--workers", "1"]) == 0
    after = manifest_of(databin)
    assert after["files"]["train.images.idx"] != before["files"]["train.images.idx"]
    assert fingerprint(databin) == after["fingerprint"] == before["fingerprint"]
    assert main(["verify", str(databin), "--workers", "1"]) == 0, capsys.readouterr().out


def test_verify_names_a_forged_fingerprint(
    source: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write())
    manifest = manifest_of(databin)
    del manifest["fingerprint"]  # as of versions before there was one
    (databin / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(databin), "--workers", "1"]) == 0
    (databin / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": "0" * 64}))
    assert main(["verify", str(databin), "--workers", "1"]) == 1
    assert "the fingerprint is not that of the files which it lists" in capsys.readouterr().out
