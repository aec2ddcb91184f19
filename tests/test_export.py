"""mvlm-export: whole or not at all."""

import os
from pathlib import Path

import pytest

from mvlm_plugin import export as command
from mvlm_plugin.interface import load
from tests.interface.conftest import save_checkpoint
from tests.tokenizer_folders import write_sentencepiece


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "data-bin").mkdir()
    return save_checkpoint(tmp_path / "checkpoint.pt", write_sentencepiece(tmp_path / "data-bin"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_becomes_a_folder(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "exported"
    assert command.main(["--path", str(checkpoint), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 12 MB\n"
    assert files(out.parent) == ["exported"]
    assert load(out).image_size == 32


def test_an_existing_folder_stays_unless_it_is_to_be_replaced(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "exported"
    arguments = ["--path", str(checkpoint), "--out", str(out)]
    assert command.main(arguments) == 0
    (out / "note.txt").write_text("mine")
    assert command.main(arguments) == 2
    assert "exists; choose another folder, or give --overwrite" in capsys.readouterr().err
    assert (out / "note.txt").exists()
    assert command.main([*arguments, "--overwrite"]) == 0
    assert not (out / "note.txt").exists()
    assert files(out.parent) == ["exported"]
    assert load(out).image_size == 32


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_export_is_never_replaced(
    checkpoint: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "precious"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "config.json").write_text("{}")
    assert command.main(["--path", str(checkpoint), "--out", str(out), "--overwrite"]) == 2
    assert "is no folder that mvlm-export wrote, and is not overwritten" in capsys.readouterr().err
    assert out.read_text() == "mine" if kind == "file" else files(out) == ["config.json"]


def test_nothing_is_left_of_an_export_that_fails(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "exported"

    def full(*arguments: object) -> None:
        assert files(out.parent) == [f".exported.partial-{os.getpid()}"]
        raise OSError("no space left on device")

    monkeypatch.setattr(command, "publish", full)
    assert command.main(["--path", str(checkpoint), "--out", str(out)]) == 2
    assert capsys.readouterr().err == "mvlm-export: error: no space left on device\n"
    assert files(out.parent) == []


def test_the_data_bin_can_be_given(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data-bin").rename(tmp_path / "moved")
    arguments = ["--path", str(checkpoint), "--out", str(tmp_path / "exported")]
    assert command.main(arguments) == 2
    assert "(mvlm-export: --data)" in capsys.readouterr().err
    assert command.main([*arguments, "--data", str(tmp_path / "moved")]) == 0


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pt").write_bytes(b"nothing")
    for path, message in (("a.pt", "is damaged"), ("none.pt", "is no file"), (".", "is no file")):
        assert command.main(["--path", str(tmp_path / path), "--out", str(tmp_path / "exported")]) == 2
        assert message in capsys.readouterr().err
    assert files(tmp_path) == ["a.pt"]
