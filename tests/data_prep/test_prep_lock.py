"""One run at a time works for a destination, and unfinished work is kept until it is asked to go."""

import fcntl
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import Source, folder_bytes, write_image
from process_helpers import Run, finished_parts, is_locked, stop_at_parts, work_folder

from data_prep import encoding
from data_prep.work import WorkFolder

RunPrepare = Callable[..., Path]


@pytest.fixture
def unfinished(source: Source, tmp_path: Path, prepare: RunPrepare, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run that got as far as its parts."""
    arguments = [*source.write(), "--part-images", "3"]
    with monkeypatch.context() as context:
        context.setattr(encoding, "train_tokenizer", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(arguments)
    assert len(finished_parts(tmp_path / "bin")) == 4
    return arguments


@pytest.mark.parametrize("more", [[], ["--overwrite"], ["--max-pixels", "9999", "--overwrite"]])
def test_a_second_run_is_sent_away(
    source: Source, tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    arguments = source.write()
    with Run([*arguments, "--dest", str(tmp_path / "bin")], tmp_path / "log", stop_at_parts) as run:
        run.wait_until_stopped()
        dest = prepare(arguments, *more, status=2)
        message = capsys.readouterr().err.splitlines()[-1]
        assert message == (
            f"mvlm-prep: error: {dest} is being prepared by another process: wait for it, or use another --dest"
        )
        run.send(signal.SIGCONT)
        assert run.wait() == 0
    assert folder_bytes(dest) == folder_bytes(prepare(arguments, name="whole"))


@pytest.mark.parametrize("change", ["option", "tokenizer", "caption"])
def test_unfinished_work_of_another_request_is_kept_until_overwrite(
    source: Source, unfinished: list[str], prepare: RunPrepare, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    more = {"option": ["--max-pixels", "9999"], "tokenizer": ["--vocab-size", "50"], "caption": []}[change]
    parts = finished_parts(source.folder.parent / "bin")
    if change == "caption":
        with open(source.folder / "captions.tsv", "a") as file:
            file.write("images/0.png\tone more ball\n")
    dest = prepare(unfinished, *more, status=2)
    message = capsys.readouterr().err.splitlines()[-1]
    assert "holds unfinished work of other options or other source files" in message
    assert "--overwrite" in message
    assert finished_parts(dest) == parts
    prepare(unfinished, *more, "--overwrite")
    assert folder_bytes(dest) == folder_bytes(prepare(unfinished, *more, name="whole"))
    assert not work_folder(dest).exists()


def test_overwrite_of_the_same_request_goes_on(unfinished: list[str], prepare: RunPrepare) -> None:
    inodes = {path.stat().st_ino for path in work_of(unfinished).rglob("*.images.bin")}
    dest = prepare(unfinished, "--overwrite")
    assert inodes == {path.stat().st_ino for path in dest.glob("*.images*.bin")}


def work_of(arguments: list[str]) -> Path:
    return work_folder(Path(arguments[arguments.index("--images") + 1]).parent / "bin")


def test_a_part_that_lost_bytes_is_made_again(unfinished: list[str], prepare: RunPrepare) -> None:
    parts = work_of(unfinished) / "parts"
    (parts / "000001" / "train.images.bin").write_bytes(b"")
    (parts / "000002" / "part.json").unlink()
    assert folder_bytes(prepare(unfinished)) == folder_bytes(prepare(unfinished, name="whole"))


def test_where_the_folder_went_with_its_lock_another_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = WorkFolder(tmp_path / "bin")
    calls = []

    def late(file: object, operation: int) -> None:
        if not calls:  # the process that held the lock removes the folder just now
            shutil.rmtree(work.path)
        calls.append(operation)
        flock(file, operation)

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", late)
    with work.locked(shared=False):
        monkeypatch.undo()
        assert len(calls) == 2
        assert is_locked(work.dest)
        work.begin({"a": 1}, overwrite=False)
        assert json.loads((work.path / "request.json").read_text()) == {"a": 1}
    assert not is_locked(work.dest)


def test_captions_beside_images_are_part_of_the_request(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        write_image(tmp_path / "photos" / f"{number}.png", number)
        (tmp_path / "photos" / f"{number}.txt").write_text(f"a dog and ball number {number}\n")
    arguments = ["folder", "--images", str(tmp_path / "photos"), "--vocab-size", "40", "--workers", "1"]
    prepare(arguments)
    prepare(arguments)
    assert "already prepared" in capsys.readouterr().out
    (tmp_path / "photos" / "3.txt").write_text("another caption\n")
    prepare(arguments, status=2)
    assert "was prepared from other options or other source files" in capsys.readouterr().err
