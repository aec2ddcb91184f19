import os
import pickle
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

from mvlm_plugin.data import image_index
from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.image_index import (
    CONTAINER,
    HEADER,
    MAGIC,
    RECORD,
    Container,
    ImageIndex,
    ImageIndexWriter,
    ImageReadError,
    ImageRecord,
)

BLOBS = [b"first", b"second image", b"", b"x" * 1000]
TABLE = HEADER.size + len(BLOBS) * RECORD.itemsize
NAMES = TABLE + 2 * CONTAINER.itemsize


def record(container: int, offset: int, data: bytes, number: int = 0) -> np.ndarray:
    row = (container, len(data), offset, 10 + number, 20 + number, zlib.crc32(data), 0)
    return np.array([row], dtype=RECORD)


def write(folder: Path, containers: tuple[str, str] = ("a.bin", "b.bin")) -> Path:
    """An index of BLOBS, by turns in two containers."""
    path = folder / "train.images.idx"
    writer = ImageIndexWriter(path)
    contents = [b"", b""]
    for number, blob in enumerate(BLOBS):
        part = number % 2
        writer.extend(record(part, len(contents[part]), blob, number))
        contents[part] += blob
    numbers = [writer.add_container(name, len(data), 0) for name, data in zip(containers, contents, strict=True)]
    assert numbers == [0, 1]
    writer.close()
    for name, content in zip(("a.bin", "b.bin"), contents, strict=True):
        (folder / name).write_bytes(content)
    return path


def write_loose(folder: Path, names: list[str], root: Path) -> Path:
    """An index of images in files of their own, which lie under root; the content of each is its name."""
    folder.mkdir(exist_ok=True)
    path = folder / "train.images.idx"
    writer = ImageIndexWriter(path)
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = name.encode("utf-8", "surrogateescape")
        file.write_bytes(data)
        number = writer.add_container(name, len(data), file.stat().st_mtime_ns)
        writer.extend(record(number, 0, data))
    writer.close()
    return path


def test_images_come_back_as_they_were_stored(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    assert len(index) == 4
    assert index.containers == 2
    assert [index.read(i) for i in (3, 1, 0, 2)] == [BLOBS[i] for i in (3, 1, 0, 2)]
    assert index.record(3) == ImageRecord(1, len(BLOBS[1]), 1000, 13, 23, zlib.crc32(BLOBS[3]))
    assert index.container(1) == Container("b.bin", 1012, 0)
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "b.bin", "train.images.idx"]


def test_an_index_travels_to_other_processes(tmp_path: Path) -> None:
    index = ImageIndex(write_loose(tmp_path / "bin", ["x.png", "y.png"], tmp_path / "images"), tmp_path / "images")
    index.read(0)
    assert pickle.loads(pickle.dumps(index)).read(1) == b"y.png"


def test_an_empty_index_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "train.images.idx"
    ImageIndexWriter(path).close()
    assert len(ImageIndex(path)) == 0


def test_a_missing_index_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match=r"none\.idx cannot be read"):
        ImageIndex(tmp_path / "none.idx")


def test_an_index_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.images.idx"
    writer = ImageIndexWriter(path)
    writer.extend(record(0, 0, b"x"))
    writer._file.flush()
    with pytest.raises(DataBinError, match="not an image index"):
        ImageIndex(path)
    writer.close()


HUGE = 2**63
DAMAGES = {
    "another magic": lambda data: b"MVLMIMG1" + data[8:],
    "more images than bytes": lambda data: HEADER.pack(MAGIC, 99, 2, TABLE, NAMES) + data[HEADER.size :],
    "fewer images": lambda data: HEADER.pack(MAGIC, 3, 2, TABLE, NAMES) + data[HEADER.size :],
    "huge count": lambda data: HEADER.pack(MAGIC, HUGE, 2, TABLE, NAMES) + data[HEADER.size :],
    "more containers": lambda data: HEADER.pack(MAGIC, 4, 3, TABLE, NAMES) + data[HEADER.size :],
    "containers beyond the end": lambda data: HEADER.pack(MAGIC, 4, 3, TABLE, NAMES + 32) + data[HEADER.size :],
    "table elsewhere": lambda data: HEADER.pack(MAGIC, 4, 2, TABLE - 32, NAMES - 32) + data[HEADER.size :],
    "no bytes": lambda data: b"",
    "half a header": lambda data: data[: HEADER.size // 2],
    "half the records": lambda data: data[: HEADER.size + 2 * RECORD.itemsize],
    "half the containers": lambda data: data[: TABLE + CONTAINER.itemsize],
    "half the names": lambda data: data[:-7],
    "a name that is too long": lambda data: data[: TABLE + 8] + b"\xff" * 4 + data[TABLE + 12 :],
    "a name far away": lambda data: data[:TABLE] + b"\xff" * 8 + data[TABLE + 8 :],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(DataBinError):
        ImageIndex(path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x.bin", "", ".", "..", "x/", "a\0b", "./x"])
def test_containers_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataBinError, match="not a file of its own folder"):
        ImageIndex(write(tmp_path, ("a.bin", name)))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", ".", "..", "a\0b"])
def test_containers_outside_the_root_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataBinError, match="not a file inside"):
        ImageIndex(write(tmp_path, ("a.bin", name)), root=tmp_path)


def test_images_may_lie_in_files_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "images"
    names = ["a.png", "deep/er/b.png", str(root / "c.png"), "größer.png", os.fsdecode(b"\xff.png")]
    index = ImageIndex(write_loose(tmp_path / "bin", names, root), root)
    assert [index.read(i) for i in range(5)] == [name.encode("utf-8", "surrogateescape") for name in names]


CHANGES = {
    "missing": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"!"),
    "touched": lambda path: os.utime(path, ns=(1, 1)),
}
PROBLEMS = {
    "missing": "cannot be read .* put it back, prepare again, or `mvlm-prep relink DATABIN` if it was only moved",
    "longer": r"changed since preparation \(6 bytes instead of 5\)",
    "touched": r"changed since preparation \(another modification time\): .*mvlm-prep relink DATABIN` if .* copied",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_container_is_named_when_the_index_is_opened(tmp_path: Path, change: str) -> None:
    path = write_loose(tmp_path / "bin", ["a.png", "b.png", "c.png"], tmp_path)
    CHANGES[change](tmp_path / "b.png")
    with pytest.raises(DataBinError, match=f"b.png {PROBLEMS[change]}"):
        ImageIndex(path, tmp_path)
    index = ImageIndex(path, tmp_path, checked=0)
    assert [bool(index.container_problem(number)) for number in range(3)] == [False, True, False]


@pytest.mark.parametrize("change", CHANGES)
def test_a_container_is_checked_when_it_is_first_read_too(tmp_path: Path, change: str) -> None:
    index = ImageIndex(write_loose(tmp_path / "bin", ["a.png", "b.png"], tmp_path), tmp_path)
    CHANGES[change](tmp_path / "b.png")
    assert index.read(0) == b"a.png"
    with pytest.raises(ImageReadError, match=r"image 1 of train\.images\.idx: .*b\.png"):
        index.read(1)


def test_of_many_containers_some_are_checked_at_opening(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(9)]
    path = write_loose(tmp_path / "bin", names, tmp_path)
    for name in ("1.png", "3.png", "5.png", "7.png"):
        (tmp_path / name).unlink()
    ImageIndex(path, tmp_path, checked=5)
    (tmp_path / "8.png").unlink()
    with pytest.raises(DataBinError, match=r"8\.png"):
        ImageIndex(path, tmp_path, checked=5)


def test_packed_containers_may_be_copied(tmp_path: Path) -> None:
    path = write(tmp_path)
    os.utime(tmp_path / "a.bin", ns=(1, 1))
    assert ImageIndex(path).read(0) == BLOBS[0]


def test_a_truncated_packed_container_costs_only_the_images_beyond_its_end(tmp_path: Path) -> None:
    path = write(tmp_path)
    os.truncate(tmp_path / "b.bin", 1011)
    index = ImageIndex(path)
    assert index.read(1) == BLOBS[1]
    with pytest.raises(ImageReadError, match=r"b\.bin is truncated \(999 of 1000 bytes\)"):
        index.read(3)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(DataBinError, match=r"b\.bin cannot be read"):
        ImageIndex(path)


def test_a_container_cut_short_while_open_fails_when_it_is_read(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    assert index.read(1) == BLOBS[1]
    os.truncate(tmp_path / "b.bin", 1011)
    assert index.read(1) == BLOBS[1]
    with pytest.raises(ImageReadError, match=r"b\.bin is truncated \(999 of 1000 bytes\)"):
        index.read(3)


def test_changed_bytes_fail_their_checksum(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = bytearray((tmp_path / "a.bin").read_bytes())
    content[2] ^= 1
    (tmp_path / "a.bin").write_bytes(bytes(content))
    with pytest.raises(ImageReadError, match="checksum differs"):
        ImageIndex(path).read(0)


@pytest.mark.parametrize("field", ["container", "offset"])
def test_a_record_that_points_nowhere_fails_when_it_is_read(tmp_path: Path, field: str) -> None:
    path = tmp_path / "train.images.idx"
    (tmp_path / "a.bin").write_bytes(b"abc")
    writer = ImageIndexWriter(path)
    nowhere = record(0, 0, b"")
    nowhere[field] = np.iinfo(RECORD[field]).max
    writer.extend(nowhere)
    writer.add_container("a.bin", 3, 0)
    writer.close()
    with pytest.raises(ImageReadError):
        ImageIndex(path).read(0)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_few_files_are_held_open_and_closed_with_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "_OPEN_FILES", 4)
    names = [f"{i}.png" for i in range(20)]
    index = ImageIndex(write_loose(tmp_path / "bin", names, tmp_path), tmp_path)
    before = open_files()
    for number in [*range(20), *range(20)]:
        assert index.read(number) == names[number].encode()
    assert open_files() == before + 4
    del index
    assert open_files() <= before


def test_the_files_read_last_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "_OPEN_FILES", 2)
    index = ImageIndex(write_loose(tmp_path / "bin", ["a.png", "b.png", "c.png"], tmp_path), tmp_path)
    for number in (0, 1, 0, 2):
        index.read(number)
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    assert index.read(0) == b"a.png"
    with pytest.raises(ImageReadError):
        index.read(1)


def test_threads_read_while_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "_OPEN_FILES", 1)
    names = [f"{i}.png" for i in range(8)]
    index = ImageIndex(write_loose(tmp_path / "bin", names, tmp_path), tmp_path)
    failures: list[BaseException] = []

    def read(seed: int) -> None:
        try:
            for number in np.random.default_rng(seed).integers(8, size=1500):
                assert index.read(number) == names[number].encode()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
