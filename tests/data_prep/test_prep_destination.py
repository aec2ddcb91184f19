"""The destination is complete or absent, and never replaced unasked."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import Source, folder_bytes, write_image

from data_prep import encoding, merge
from data_prep import prepare as prepare_module
from data_prep.parallel import WorkerDied
from data_prep.records import PrepError

REPOSITORY = Path(__file__).parents[2]
RunPrepare = Callable[..., Path]


def test_the_same_request_again_does_nothing(
    source: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    databin = prepare(source.write())
    before = {path.name: path.stat().st_mtime_ns for path in databin.iterdir()}
    capsys.readouterr()
    prepare(source.write(), "--workers", "2")
    assert "already prepared" in capsys.readouterr().out
    assert before == {path.name: path.stat().st_mtime_ns for path in databin.iterdir()}


@pytest.mark.parametrize("change", ["option", "caption", "image"])
def test_another_request_keeps_what_is_there_until_overwrite(
    source: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    databin = prepare(source.write())
    before = folder_bytes(databin)
    more = ["--max-pixels", "1000"] if change == "option" else []
    if change == "caption":
        source.captions.append(("images/0.png", "a new caption"))
    if change == "image":
        write_image(source.images / "0.png", 99)
    prepare(source.write(), *more, status=2)
    assert "--overwrite" in capsys.readouterr().err
    assert folder_bytes(databin) == before
    prepare(source.write(), *more, "--overwrite")
    assert folder_bytes(databin) != before
    assert [path.name for path in databin.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("more", "name"), [([], "train.pairs.npy"), (["--shards", "2"], "shard1/train.pairs.npy")])
def test_a_damaged_data_bin_is_not_already_prepared(
    source: Source, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], more: list[str], name: str
) -> None:
    (prepare(source.write(), *more) / name).unlink()
    prepare(source.write(), *more, status=2)
    assert f"is damaged ({name} missing or changed)" in capsys.readouterr().err


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_that_is_no_data_bin_is_never_replaced(
    source: Source, tmp_path: Path, prepare: RunPrepare, overwrite: list[str]
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "thesis.txt").write_text("years of work")
    prepare(source.write(), *overwrite, status=2)
    assert (tmp_path / "bin" / "thesis.txt").read_text() == "years of work"


STAGES = {
    "plan": (prepare_module, "build_plan"),
    "parts": (prepare_module, "run_parts"),
    "tokenizer": (encoding, "train_tokenizer"),
    "encoding": (merge, "encode_captions"),
    "hashes": (merge, "hash_files"),
    "publishing": (prepare_module, "publish"),
}


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def leftovers(folder: Path) -> list[str]:
    """What lies in a folder but for the source and the data-bins."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("stage", STAGES)
def test_work_that_cannot_succeed_leaves_nothing(
    source: Source, tmp_path: Path, prepare: RunPrepare, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(*STAGES[stage], failing(PrepError("cannot be")))
    prepare(source.write(), status=2)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        *((stage, OSError("disk full")) for stage in STAGES),
        ("parts", KeyboardInterrupt()),
        ("encoding", WorkerDied("out of memory")),
    ],
)
def test_work_that_may_succeed_another_time_is_kept(
    source: Source, tmp_path: Path, prepare: RunPrepare, monkeypatch: pytest.MonkeyPatch, stage: str,
    error: BaseException,
) -> None:  # fmt: skip
    whole = prepare(source.write(), name="whole")
    with monkeypatch.context() as context:
        context.setattr(*STAGES[stage], failing(error))
        assert not prepare(source.write(), status=130 if isinstance(error, KeyboardInterrupt) else 2).exists()
    assert leftovers(tmp_path) == [".bin.partial"]
    assert folder_bytes(prepare(source.write())) == folder_bytes(whole)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("stage", ["hashes", "publishing"])
def test_a_failed_overwrite_keeps_the_old_one(
    source: Source, prepare: RunPrepare, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    databin = prepare(source.write())
    before = folder_bytes(databin)
    monkeypatch.setattr(*STAGES[stage], failing(PrepError("no luck")))
    prepare(source.write(), "--max-pixels", "1000", "--overwrite", status=2)
    assert folder_bytes(databin) == before
    assert sorted(path.name for path in databin.parent.iterdir()) == ["bin", "raw"]


def test_a_data_bin_that_cannot_be_replaced_stays(
    source: Source, prepare: RunPrepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    databin = prepare(source.write())
    before = folder_bytes(databin)
    rename = os.rename

    def fail(old: Path, new: Path) -> None:
        if new == databin and "old-" not in str(old):
            raise OSError("no luck")
        rename(old, new)

    monkeypatch.setattr(os, "rename", fail)
    prepare(source.write(), "--overwrite", status=2)
    assert folder_bytes(databin) == before
    assert leftovers(databin.parent) == [".bin.partial"]


def children_of(process: int) -> list[int]:
    listing = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in listing.read_text().split()] if listing.exists() else []


def is_running(process: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_a_killed_run_leaves_no_destination_and_no_processes(tmp_path: Path, number: signal.Signals) -> None:
    dest = tmp_path / "bin"
    code = "import sys; from data_prep.cli import main; sys.exit(main())"
    arguments = ["scenes", "--pairs", "4000", "--image-size", "512", "--workers", "2", "--dest", str(dest)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    children: list[int] = []
    deadline = time.monotonic() + 60
    while len(children := children_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    # Python drops an exception that a signal raises inside its hooks around fork.
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(timeout=30) == (-9 if number == signal.SIGKILL else 143)
    assert len(children) == 2
    assert not dest.exists()
    assert leftovers(tmp_path) == [".bin.partial"]
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))
