"""Files that hold weights, and files that only claim to."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mvlm_plugin.interop.reading import WeightsError, read_weights, sha256

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def check(path: Path) -> None:
    read = read_weights(path).tensors
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], STATE[name].float()) and read[name].dtype == torch.float32 for name in STATE)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", ["", "model", "state_dict", "both"])
def test_torch_files_with_their_usual_wrappers(tmp_path: Path, wrap: str, legacy: bool) -> None:
    content = {"both": {"model": {"state_dict": STATE}}, "": STATE}.get(wrap, {wrap: STATE, "epoch": 3})
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    check(tmp_path / "w.pth")


def test_arguments_of_training_programs_are_kept_beside_the_tensors(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in STATE.items()}
    torch.save({"model": wrapped, "args": argparse.Namespace(heads=3)}, tmp_path / "w.pt")
    check(tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").content["args"].heads == 3


def test_safetensors_under_any_name(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.bin")
    check(tmp_path / "w.bin")


def write_shards(folder: Path, **weight_map: str) -> None:
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a.weight": "one.safetensors", "b": "two.safetensors", **weight_map}})
    )
    save_file({"a.weight": STATE["a.weight"]}, folder / "one.safetensors")
    save_file({"b": STATE["b"]}, folder / "two.safetensors")


def test_folders_whole_and_sharded(tmp_path: Path) -> None:
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    whole.mkdir()
    sharded.mkdir()
    torch.save(STATE, whole / "pytorch_model.bin")
    check(whole)
    write_shards(sharded)
    check(sharded)
    assert [file.name for file in read_weights(sharded).files] == ["one.safetensors", "two.safetensors"]


def test_the_fingerprint_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ab")
    (tmp_path / "y").write_bytes(b"c")
    assert sha256([tmp_path / "x", tmp_path / "y"]) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "..", "sub/one.safetensors", ""])
def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"c": torch.zeros(1)}, tmp_path / "outside.safetensors")
    write_shards(folder, c=name)
    with pytest.raises(WeightsError, match="no file beside it"):
        read_weights(folder)


def test_what_an_index_promises_must_be_there(tmp_path: Path) -> None:
    write_shards(tmp_path, c="two.safetensors")
    with pytest.raises(WeightsError, match="tensors that no file holds: c; download"):
        read_weights(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks files.*: two\.safetensors"):
        read_weights(tmp_path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, legacy: bool) -> None:
    content = {"model": STATE, "trap": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match="would run code when it is loaded and is refused"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()


NONSENSE = {
    "empty": b"",
    "text": b"<html>404 not found</html>" * 100,
    "zeros": bytes(100_000),
    "header": b"\x10" + bytes(7) + b"{" + b"x" * 40,
    "pickle": b"\x80\x02}q\x00(X" + bytes(50),
    "zip": b"PK\x03\x04" + bytes(500),
    "large header": (2**40).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_one_line_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "w.pth").write_bytes(NONSENSE[name])
    with pytest.raises(WeightsError, match="download it again") as caught:
        read_weights(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["torch", "legacy", "safetensors"])
def test_a_file_cut_short_is_damaged(tmp_path: Path, form: str) -> None:
    path = tmp_path / "w"
    if form == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=form == "torch")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)


def test_other_content_is_named(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list"):
        read_weights(tmp_path / "list.pt")
    torch.save({"epoch": 3, "model": {"x": 1}}, tmp_path / "empty.pt")
    with pytest.raises(WeightsError, match="no tensors; its first entries: x"):
        read_weights(tmp_path / "empty.pt")
    torch.save({"w": torch.zeros(1).expand(2**40)}, tmp_path / "claim.pt")
    with pytest.raises(WeightsError, match="w claims more values than the file holds"):
        read_weights(tmp_path / "claim.pt")
    loop: dict[str, object] = {"x": 1}
    loop["model"] = loop
    torch.save(loop, tmp_path / "loop.pt")
    with pytest.raises(WeightsError, match="no tensors"):
        read_weights(tmp_path / "loop.pt")
    (tmp_path / "w.npz").write_bytes(b"PK")
    with pytest.raises(WeightsError, match="NumPy archive; load it with timm"):
        read_weights(tmp_path / "w.npz")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read_weights(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"none of model\.safetensors"):
        read_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[1]")
    with pytest.raises(WeightsError, match="holds no object; download it again"):
        read_weights(tmp_path)
