"""Sources that lie behind URLs give what the same files give from the local disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from prep_helpers import (
    Source,
    counts_of,
    folder_bytes,
    manifest_of,
    rejections,
    stored_pairs,
    stored_tokens,
    write_many,
    write_tars,
)

RunPrepare = Callable[..., Path]


@pytest.fixture
def memory() -> Iterator[Callable[[Path], str]]:
    """Copies a folder into fsspec's memory:// and gives its URL."""
    system = fsspec.filesystem("memory")

    def copy(folder: Path) -> str:
        for path in folder.rglob("*"):
            if path.is_file():
                system.pipe(f"/{folder.name}/{path.relative_to(folder)}", path.read_bytes())
        return f"memory://{folder.name}"

    yield copy
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def moved(arguments: list[str], folder: Path, url: str) -> list[str]:
    """The same command on the files at an URL."""
    return [argument.replace(str(folder), url) for argument in arguments]


def assert_same_pairs(one: Path, other: Path) -> None:
    assert counts_of(one) == counts_of(other)
    for split in counts_of(one):
        assert stored_pairs(one, split) == stored_pairs(other, split)
        assert stored_tokens(one, split) == stored_tokens(other, split)
        assert (one / f"{split}.hashes.npy").read_bytes() == (other / f"{split}.hashes.npy").read_bytes()
        assert (one / f"{split}.names.bin").read_bytes() == (other / f"{split}.names.bin").read_bytes()
    assert (one / "dict.txt").read_bytes() == (other / "dict.txt").read_bytes()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_tables_and_images_in_an_object_store(
    tmp_path: Path, prepare: RunPrepare, memory: Callable[[Path], str], workers: str
) -> None:
    folder = tmp_path / "raw"
    arguments = [*write_many(folder), "--part-images", "7"]
    local = prepare(arguments, name="local")
    remote = prepare(moved(arguments, folder, memory(folder)), "--workers", workers)
    assert_same_pairs(remote, local)
    # Whether an image is there shows only when it is read; the same rows are rejected, for the same reasons.
    told = [
        {(entry["image"], entry["line"], entry["reason"]) for entry in rejections(path)} for path in (remote, local)
    ]
    assert told[0] == told[1]
    assert {entry["source"] for entry in rejections(remote)} == {"memory://raw/captions.tsv"}
    prepare(moved(arguments, folder, "memory://raw"))


def test_files_named_by_url(tmp_path: Path, prepare: RunPrepare) -> None:
    folder = tmp_path / "raw"
    arguments = write_many(folder)
    local = prepare(arguments, name="local")
    assert_same_pairs(prepare(moved(arguments, folder, f"file://{folder}")), local)


@pytest.mark.parametrize("scheme", ["memory", "file"])
@pytest.mark.parametrize("pattern", ["braces", "glob"])
def test_archives_in_an_object_store(
    tmp_path: Path, prepare: RunPrepare, memory: Callable[[Path], str], scheme: str, pattern: str
) -> None:
    folder = tmp_path / "raw"
    arguments = write_tars(folder)
    local = prepare(arguments, name="local")
    if pattern == "glob":
        arguments = [argument.replace("{000..006}.tar", "00[0-6].tar") for argument in arguments]
    url = memory(folder) if scheme == "memory" else f"file://{folder}"
    remote = prepare(moved(arguments, folder, url), "--workers", "2")
    assert_same_pairs(remote, local)
    assert len(rejections(remote)) == len(rejections(local))


def test_the_request_notices_changed_files(
    tmp_path: Path, prepare: RunPrepare, memory: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "raw"
    arguments = moved(write_tars(folder, tars=3), folder, memory(folder))
    before = folder_bytes(prepare(arguments))
    prepare(arguments)
    assert "already prepared" in capsys.readouterr().out
    fsspec.filesystem("memory").pipe("/raw/000.tar", (folder / "001.tar").read_bytes())
    databin = prepare(arguments, status=2)
    assert "other source files" in capsys.readouterr().err
    assert folder_bytes(databin) == before


def test_remote_files_cannot_be_referred_to(
    source: Source, tmp_path: Path, prepare: RunPrepare, memory: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for folder, arguments in (
        (source.folder, source.write()), (tmp_path / "tars", write_tars(tmp_path / "tars", tars=2))
    ):  # fmt: skip
        prepare(moved(arguments, folder, memory(folder)), "--image-store", "reference", status=2)
        assert "local" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--captions", "memory://nowhere/captions.tsv"),
        ("--captions", "nonsense://bucket/captions.tsv"),
        ("--splits", "memory://nowhere/splits.tsv"),
    ],
)
def test_an_url_that_cannot_be_read_is_named(
    source: Source, tmp_path: Path, prepare: RunPrepare, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    prepare(source.write(), option, value, status=2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("mvlm-prep: error: ")
    assert value.split("://")[1] in error
    assert not list(tmp_path.glob(".*.partial"))


def test_a_result_from_elsewhere_has_no_trace_of_the_place(
    source: Source, prepare: RunPrepare, memory: Callable[[Path], str]
) -> None:
    databin = prepare(moved(source.write(), source.folder, memory(source.folder)))
    assert manifest_of(databin)["source"]["files"] == {"captions": "captions.tsv", "splits": "splits.tsv"}
    assert "memory" not in (databin / "manifest.json").read_text()
