"""A run that is killed at any moment goes on where it was, and ends as if nothing had happened."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prep_helpers import folder_bytes, write_many, write_tars
from process_helpers import Run, finished_parts, kill_at, wait_for, wait_until_free, work_folder

from data_prep import encoding, merge, part, plan, split_merge
from data_prep import prepare as prepare_module
from data_prep.cli import main

SOURCES: dict[str, Callable[[Path], list[str]]] = {
    "tsv": lambda folder: [*write_many(folder), "--part-images", "4"],
    "webdataset": write_tars,
}
# Where a run is killed: object, name of a function of it, which call, and whether before or after that call.
MOMENTS: dict[str, tuple[Any, str, int, bool]] = {
    "while it reads captions": (plan._Builder, "add", 30, False),
    "before the plan is there": (plan, "publish_folder", 1, False),
    "while it decodes": (part, "check_image", 7, False),
    "when a part is complete": (part, "publish_folder", 2, True),
    "when the tokenizer is trained": (encoding, "train_tokenizer", 1, True),
    "while it encodes": (encoding, "count_done", 12, False),
    "while it merges images": (split_merge.ImageMerger, "add", 4, False),
    "while it merges captions": (split_merge.TextMerger, "add", 3, True),
    "before the manifest": (merge, "_write_manifest", 1, False),
    "before it is published": (prepare_module, "publish", 1, False),
    "when it is published": (prepare_module, "publish", 1, True),
}
RunPrepare = Callable[..., Path]
Made = dict[str, tuple[list[str], dict[str, bytes]]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Arguments of mvlm-prep for each kind of source, and the files that a run makes of it."""
    made = {}
    for kind, write in SOURCES.items():
        folder = tmp_path_factory.mktemp(kind)
        arguments = write(folder / "raw")
        assert main([*arguments, "--dest", str(folder / "whole")]) == 0
        made[kind] = (arguments, folder_bytes(folder / "whole"))
    return made


def slowly() -> None:
    """Make decoding take so long that a test can act meanwhile."""
    function = part.check_image

    def slow(*arguments: Any) -> Any:
        time.sleep(0.02)
        return function(*arguments)

    part.check_image = slow


def start(arguments: list[str], dest: Path, before: Callable[[], None] | None = None) -> Run:
    return Run([*arguments, "--workers", "2", "--dest", str(dest)], dest.with_name("log"), before)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *(("tsv", moment) for moment in MOMENTS),
        ("webdataset", "while it decodes"),
        ("webdataset", "when a part is complete"),
        ("webdataset", "while it merges captions"),
    ],
)
def test_killed_at_a_certain_moment(tmp_path: Path, sources: Made, prepare: RunPrepare, kind: str, moment: str) -> None:
    arguments, whole = sources[kind]
    dest = tmp_path / "bin"
    assert start(arguments, dest, kill_at(*MOMENTS[moment])).wait() == -signal.SIGKILL
    wait_until_free(dest)
    assert dest.exists() == (moment == "when it is published")
    containers = {inode(path) for name in finished_parts(dest) for path in part_files(dest, name, "*.images.bin")}
    prepare(arguments, "--workers", "2")
    assert folder_bytes(dest) == whole
    assert hidden(tmp_path) == []
    # A container of the data-bin is the file that the part made: it was not made again.
    assert containers <= {inode(path) for path in dest.glob("*.images*.bin")}
    later = list(MOMENTS).index(moment) >= list(MOMENTS).index("when a part is complete")
    assert bool(containers) or not later


def part_files(dest: Path, number: str, pattern: str) -> list[Path]:
    return list((work_folder(dest) / "parts" / number).glob(pattern))


def inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


@pytest.mark.parametrize("kind", SOURCES)
def test_killed_again_and_again_at_random(tmp_path: Path, sources: Made, kind: str) -> None:
    arguments, whole = sources[kind]
    began = time.monotonic()
    assert start(arguments, tmp_path / "timed").wait() == 0
    duration = time.monotonic() - began
    rng = random.Random(kind)
    dest = tmp_path / "bin"
    parts: dict[str, tuple[int, int]] = {}
    for _ in range(5):
        run = start(arguments, dest)
        time.sleep(rng.uniform(0.1, 0.9) * duration)
        run.send_to_group(signal.SIGKILL)
        if run.wait() == 0:
            break
        wait_until_free(dest)
        now = finished_parts(dest)
        assert dest.exists() or parts.items() <= now.items()
        parts = now
    assert start(arguments, dest).wait() == 0
    assert folder_bytes(dest) == whole == folder_bytes(tmp_path / "timed")
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_politely(
    tmp_path: Path, sources: Made, prepare: RunPrepare, kind: str, number: signal.Signals, status: int
) -> None:
    arguments, whole = sources[kind]
    dest = tmp_path / "bin"
    run = start(arguments, dest, slowly)
    wait_for(lambda: bool(finished_parts(dest)))
    parts = finished_parts(dest)
    if number == signal.SIGINT:
        run.send_to_group(number)
    else:
        run.send(number)
    assert run.wait() == status
    assert "Traceback" not in run.log.read_text()
    assert parts.items() <= finished_parts(dest).items()
    assert not dest.exists()
    if number == signal.SIGINT:
        assert run.log.read_text().splitlines()[-1] == "mvlm-prep: interrupted; the same command goes on where it was"
    prepare(arguments)
    assert folder_bytes(dest) == whole


def test_a_worker_that_dies_is_told_and_costs_only_its_part(tmp_path: Path, sources: Made, prepare: RunPrepare) -> None:
    arguments, whole = sources["tsv"]
    dest = tmp_path / "bin"

    def dying() -> None:
        function = part.check_image
        calls = 0

        def die(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        part.check_image = die

    run = start(arguments, dest, dying)
    assert run.wait() == 2
    assert "error: a worker process died, probably out of memory" in run.log.read_text().splitlines()[-1]
    assert finished_parts(dest)
    prepare(arguments)
    assert folder_bytes(dest) == whole


@pytest.mark.parametrize("kind", SOURCES)
def test_work_is_not_continued_from_a_source_that_changed(
    tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    arguments = SOURCES[kind](tmp_path / "raw")
    dest = tmp_path / "bin"
    assert start(arguments, dest, kill_at(*MOMENTS["when a part is complete"])).wait() == -signal.SIGKILL
    wait_until_free(dest)
    if kind == "tsv":
        with open(tmp_path / "raw" / "captions.tsv", "a") as file:
            file.write("images/0.png\tone more\n")
    else:
        (tmp_path / "raw" / "000.tar").write_bytes((tmp_path / "raw" / "001.tar").read_bytes())
    prepare(arguments, status=2)
    assert "holds unfinished work of other options or other source files" in capsys.readouterr().err
    prepare(arguments, "--overwrite")
    assert folder_bytes(dest) == folder_bytes(prepare(arguments, name="whole"))
