"""A set divided into shards, made by one run or by the jobs of an array, is the same set."""

import os
import shlex
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_helpers import (
    Source,
    counts_of,
    folder_bytes,
    manifest_of,
    rejections,
    stored_images,
    stored_pairs,
    write_image,
    write_many,
    write_tars,
)
from process_helpers import Run, finished_parts, kill_at, stop_at_parts, wait_until_free, work_folder

from data_prep import merge
from data_prep.cli import main
from data_prep.exclusion import Exclusions

SOURCES: dict[str, Callable[[Path], list[str]]] = {"tsv": write_many, "webdataset": write_tars}
RunPrepare = Callable[..., Path]
Made = dict[str, tuple[list[str], Path, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """For each kind of source: arguments of mvlm-prep, what they make without shards, and with --shards 3."""
    found = {}
    for kind, write in SOURCES.items():
        folder = tmp_path_factory.mktemp(kind)
        arguments = write(folder / "raw")
        for name, more in (("single", []), ("sharded", ["--shards", "3"])):
            assert main([*arguments, *more, "--dest", str(folder / name)]) == 0
        found[kind] = (arguments, folder / "single", folder / "sharded")
    return found


@pytest.mark.parametrize("kind", SOURCES)
def test_shards_divide_the_train_split_and_nothing_else(made: Made, kind: str) -> None:
    _, single, sharded = made[kind]
    shards = [sharded / name for name in manifest_of(sharded)["shards"]]
    assert [shard.name for shard in shards] == ["shard0", "shard1", "shard2"]
    assert [list(counts_of(shard)) for shard in shards] == [["train", "valid"], ["train"], ["train"]]
    pairs = [stored_pairs(shard, "train") for shard in shards]
    assert sum(map(Counter, pairs), Counter()) == Counter(stored_pairs(single, "train"))
    images = [set(stored_images(shard, "train")) for shard in shards]
    assert sum(map(len, images)) == len(set().union(*images))
    assert max(map(len, images)) - min(map(len, images)) <= 5
    assert stored_pairs(shards[0], "valid") == stored_pairs(single, "valid")
    for kind_of_file in ("text.bin", "text.idx", "pairs.npy", "hashes.npy", "names.bin"):
        assert (shards[0] / f"valid.{kind_of_file}").read_bytes() == (single / f"valid.{kind_of_file}").read_bytes()
    for shard in shards:
        assert (shard / "dict.txt").read_bytes() == (single / "dict.txt").read_bytes()
        assert (shard / "tokenizer.spm").read_bytes() == (single / "tokenizer.spm").read_bytes()


@pytest.mark.parametrize("kind", SOURCES)
def test_the_top_manifest_has_the_totals(made: Made, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, single, sharded = made[kind]
    total, whole = manifest_of(sharded), manifest_of(single)
    for split, entry in total["splits"].items():
        for name, count in entry.items():
            assert count == whole["splits"][split][name], (split, name)
    for name in ("rejected", "duplicates", "excluded", "tokenizer", "image_store", "format_version"):
        assert total[name] == whole[name]
    assert rejections(sharded / "shard0") == rejections(single)
    assert rejections(sharded / "shard1") == []
    assert main(["verify", str(sharded)]) == 0
    assert "is sound" in capsys.readouterr().out


@pytest.mark.parametrize("kind", SOURCES)
def test_jobs_one_after_the_other_make_the_same(made: Made, kind: str, prepare: RunPrepare) -> None:
    arguments, _, sharded = made[kind]
    for number, shards in enumerate(("0:1", "1:3")):
        dest = prepare(arguments, "--shards", "3", "--shard-range", shards)
        assert not dest.exists()
        made_parts = finished_parts(dest)
        assert all((int(part) % 3 > 0) <= (number == 1) for part in made_parts)
    assert main(["merge", str(dest)]) == 0
    assert folder_bytes(dest) == folder_bytes(sharded)
    assert not work_folder(dest).exists()


@pytest.mark.parametrize("kind", SOURCES)
def test_jobs_at_the_same_time_make_the_same(made: Made, kind: str, tmp_path: Path) -> None:
    arguments, _, sharded = made[kind]
    dest = tmp_path / "bin"
    common = [*arguments, "--shards", "3", "--dest", str(dest)]
    runs = [Run([*common, "--shard-range", f"{shard}:{shard + 1}"], tmp_path / f"log {shard}") for shard in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0], [run.log.read_text() for run in runs]
    assert main(["merge", str(dest), "--workers", "2"]) == 0
    assert folder_bytes(dest) == folder_bytes(sharded)


@pytest.mark.parametrize("kind", SOURCES)
def test_jobs_that_share_nothing_are_merged(made: Made, kind: str, prepare: RunPrepare, tmp_path: Path) -> None:
    arguments, single, sharded = made[kind]
    jobs = [
        prepare(arguments, "--shards", "3", "--shard-range", f"{shard}:{shard + 1}", name=f"job{shard}")
        for shard in (2, 0, 1)
    ]
    assert main(["merge", *map(str, jobs), "--dest", str(tmp_path / "one"), "--single"]) == 0
    assert not any(work_folder(job).exists() for job in jobs)
    for split in ("train", "valid"):
        assert stored_pairs(tmp_path / "one", split) == stored_pairs(single, split)
    assert counts_of(tmp_path / "one", "tokens") == counts_of(single, "tokens")
    jobs = [prepare(arguments, "--shards", "3", "--shard-range", shards, name=shards) for shards in ("1:3", "0:1")]
    assert main(["merge", *map(str, jobs), "--dest", str(tmp_path / "bin")]) == 0
    assert folder_bytes(tmp_path / "bin") == folder_bytes(sharded)


def test_a_missing_shard_is_named_with_what_to_run(
    made: Made, prepare: RunPrepare, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _, sharded = made["tsv"]
    dest = prepare(arguments, "--shards", "3", "--shard-range", "1:2")
    assert "parts of other shards are still to be made" in capsys.readouterr().out
    assert main(["merge", str(dest)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "of shards 0, 2" in message
    missing = shlex.split(message[message.index("--shards") :])
    prepare(arguments, *missing)
    assert f"all parts are there\nwhen all are: mvlm-prep merge {dest}" in capsys.readouterr().out
    assert main(["merge", str(dest)]) == 0
    assert folder_bytes(dest) == folder_bytes(sharded)


@pytest.mark.parametrize("more", [["--max-pixels", "99999"], ["--shards", "4"]])
def test_jobs_with_other_options_are_refused(
    made: Made, prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    arguments = [*made["tsv"][0], "--shards", "3"]
    one = prepare(arguments, "--shard-range", "0:2", name="one")
    prepare(arguments, *more, "--shard-range", "2:3", name="one", status=2)
    assert "holds unfinished work of other options" in capsys.readouterr().err
    two = prepare(arguments, *more, "--shard-range", "2:3", name="two")
    assert main(["merge", str(one), str(two), "--dest", str(tmp_path / "bin")]) == 2
    assert "different options" in capsys.readouterr().err
    assert work_folder(one).exists()
    assert work_folder(two).exists()
    assert not (tmp_path / "bin").exists()


def test_a_whole_run_takes_over_what_jobs_have_made(made: Made, prepare: RunPrepare) -> None:
    arguments, _, sharded = made["tsv"]
    dest = prepare(arguments, "--shards", "3", "--shard-range", "1:3")
    assert folder_bytes(prepare(arguments, "--shards", "3")) == folder_bytes(sharded)
    assert not work_folder(dest).exists()


def test_a_job_is_not_disturbed_by_one_of_other_options(
    made: Made, prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, _, sharded = made["tsv"]
    common = [*arguments, "--shards", "3"]
    dest = tmp_path / "bin"
    with Run([*common, "--shard-range", "0:3", "--dest", str(dest)], tmp_path / "log", stop_at_parts) as run:
        run.wait_until_stopped()
        prepare(common, "--shard-range", "1:2", "--max-pixels", "9999", "--overwrite", status=2)
        assert "is being prepared by another process" in capsys.readouterr().err
        prepare(common, status=2)
        assert "is being prepared by another process" in capsys.readouterr().err
        run.send(signal.SIGCONT)
        assert run.wait() == 0
    assert main(["merge", str(dest)]) == 0
    assert folder_bytes(dest) == folder_bytes(sharded)


def test_jobs_share_what_they_exclude(
    made: Made, prepare: RunPrepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ids.txt").write_text("4\n6.png\n")
    common = [*made["tsv"][0], "--shards", "3", "--exclude", str(tmp_path / "ids.txt")]
    whole = prepare(common, name="whole")
    assert manifest_of(whole)["excluded"] == {"ids.txt": {"ids": 2}}
    dest = tmp_path / "bin"
    with Run([*common, "--shard-range", "0:1", "--dest", str(dest)], tmp_path / "log", stop_at_parts) as run:
        run.wait_until_stopped()
        monkeypatch.delattr(Exclusions, "load")
        prepare(common, "--shard-range", "1:3")
        run.send(signal.SIGCONT)
        assert run.wait() == 0
    assert main(["merge", str(dest)]) == 0
    assert folder_bytes(dest) == folder_bytes(whole)


def test_merge_replaces_only_data_bins_and_only_when_asked(
    made: Made, prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = prepare(made["tsv"][0], "--shards", "3", "--shard-range", "0:3")
    capsys.readouterr()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    for more in ([], ["--overwrite"]):
        assert main(["merge", str(job), "--dest", str(tmp_path / "papers"), *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years of work"
    other = prepare(["scenes", "--pairs", "16"], name="other")
    assert main(["merge", str(job), "--dest", str(other)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["merge", str(job), "--dest", str(other), "--overwrite"]) == 0
    assert folder_bytes(other) == folder_bytes(made["tsv"][2])


def test_jobs_are_merged_into_another_file_system(made: Made, prepare: RunPrepare, tmp_path: Path) -> None:
    arguments, _, sharded = made["webdataset"]
    job = prepare(arguments, "--shards", "3", "--shard-range", "0:3", name="job")
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        dest = Path(folder) / "bin"
        assert main(["merge", str(job), "--dest", str(dest)]) == 0
        assert folder_bytes(dest) == folder_bytes(sharded)
        assert list(Path(folder).iterdir()) == [dest]
    assert not work_folder(job).exists()


def test_a_merge_that_was_killed_is_repeated(made: Made, prepare: RunPrepare, tmp_path: Path) -> None:
    arguments, _, sharded = made["webdataset"]
    jobs = [prepare(arguments, "--shards", "3", "--shard-range", job, name=job) for job in ("0:2", "2:3")]
    command = ["merge", *map(str, jobs), "--dest", str(tmp_path / "bin")]
    run = Run(command, tmp_path / "log", kill_at(merge, "hash_files", 2, after=True))
    assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "bin").exists()
    for job in jobs:
        wait_until_free(job)
    assert main(command) == 0
    assert folder_bytes(tmp_path / "bin") == folder_bytes(sharded)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nothing_to_merge_is_told(prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(tmp_path / "bin")]) == 2
    assert "there is no unfinished work" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_more_shards_than_there_is_to_divide_are_refused(
    source: Source, prepare: RunPrepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(source.write(), "--shards", "9", status=2)
    assert "ask for fewer" in capsys.readouterr().err
    prepare(write_tars(tmp_path / "tars"), "--shards", "9", status=2)
    assert "ask for fewer" in capsys.readouterr().err


def test_duplicates_are_counted_across_shards(source: Source, prepare: RunPrepare) -> None:
    for number in range(3):
        write_image(source.add(f"again {number}.png", "train", ["a dog again"]), 1)
        write_image(source.add(f"held out {number}.png", "train", ["a dog held out"]), 8)
    for policy in ("keep", "drop"):
        whole = prepare(source.write(), "--duplicates", policy, name=policy)
        sharded = prepare(source.write(), "--duplicates", policy, "--shards", "3", name=f"{policy} 3")
        assert manifest_of(sharded)["duplicates"] == manifest_of(whole)["duplicates"]
        assert manifest_of(sharded)["duplicates"]["images_across_splits"] == 3
        assert counts_of(sharded) == counts_of(whole)
