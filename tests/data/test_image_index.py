import json
import pickle
import zlib
from pathlib import Path

import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.image_index import (
    HEADER,
    MAGIC,
    RECORD,
    ImageIndex,
    ImageIndexWriter,
    ImageReadError,
    ImageRecord,
)

BLOBS = [b"first", b"second image", b"", b"x" * 1000]


def write(folder: Path, containers: tuple[str, ...] = ("a.bin", "b.bin")) -> Path:
    """An index of BLOBS, by turns in two containers."""
    path = folder / "train.images.idx"
    writer = ImageIndexWriter(path)
    contents = [b"", b""]
    for number, blob in enumerate(BLOBS):
        part = number % 2
        writer.add(ImageRecord(part, len(contents[part]), len(blob), 10 + number, 20 + number, zlib.crc32(blob)))
        contents[part] += blob
    writer.close(list(containers))
    for name, content in zip(("a.bin", "b.bin"), contents, strict=True):
        (folder / name).write_bytes(content)
    return path


def test_images_come_back_as_they_were_stored(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    assert len(index) == 4
    assert [index.read(i) for i in (3, 1, 0, 2)] == [BLOBS[i] for i in (3, 1, 0, 2)]
    assert index.record(3) == ImageRecord(1, len(BLOBS[1]), 1000, 13, 23, zlib.crc32(BLOBS[3]))


def test_an_index_travels_to_other_processes(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    index.read(0)
    assert pickle.loads(pickle.dumps(index)).read(1) == BLOBS[1]


def test_an_empty_index_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "train.images.idx"
    ImageIndexWriter(path).close([])
    assert len(ImageIndex(path)) == 0


def test_a_missing_index_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataBinError, match=r"none\.idx cannot be read"):
        ImageIndex(tmp_path / "none.idx")


def test_an_index_that_was_not_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.images.idx"
    writer = ImageIndexWriter(path)
    writer.add(ImageRecord(0, 0, 1, 1, 1, 0))
    writer._file.flush()
    with pytest.raises(DataBinError, match="not an image index"):
        ImageIndex(path)
    writer.close(["a.bin"])


HUGE = 2**63
DAMAGES = {
    "another magic": lambda data: b"MVLMIMG2" + data[8:],
    "more images than bytes": lambda data: (
        HEADER.pack(MAGIC, 5, HEADER.size + 5 * RECORD.itemsize) + data[HEADER.size :]
    ),
    "fewer images": lambda data: HEADER.pack(MAGIC, 3, HEADER.size + 4 * RECORD.itemsize) + data[HEADER.size :],
    "huge count": lambda data: HEADER.pack(MAGIC, HUGE, HEADER.size) + data[HEADER.size :],
    "tail beyond the end": lambda data: HEADER.pack(MAGIC, 4, HUGE) + data[HEADER.size :],
    "no bytes": lambda data: b"",
    "half a header": lambda data: data[: HEADER.size // 2],
    "half the records": lambda data: data[: HEADER.size + 2 * RECORD.itemsize],
    "no container list": lambda data: data[: HEADER.size + 4 * RECORD.itemsize],
    "half a container list": lambda data: data[:-3],
    "names that are no list": lambda data: data[: HEADER.size + 4 * RECORD.itemsize] + b'{"a.bin": 1}',
    "names that are no text": lambda data: data[: HEADER.size + 4 * RECORD.itemsize] + b"[1, 2]",
    "names that are no UTF-8": lambda data: data[: HEADER.size + 4 * RECORD.itemsize] + b'["\xff"]',
    "names nested without end": lambda data: data[: HEADER.size + 4 * RECORD.itemsize] + b"[" * 200_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(DataBinError):
        ImageIndex(path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x.bin", "", ".", "..", "x/"])
def test_containers_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataBinError, match="not a file of its own folder"):
        ImageIndex(write(tmp_path, ("a.bin", name)))


def test_a_missing_container_fails_when_it_is_read(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    (tmp_path / "b.bin").unlink()
    assert index.read(0) == BLOBS[0]
    with pytest.raises(ImageReadError, match=r"image 1 of train\.images\.idx"):
        index.read(1)


def test_a_truncated_container_fails_when_it_is_read(tmp_path: Path) -> None:
    index = ImageIndex(write(tmp_path))
    (tmp_path / "b.bin").write_bytes((tmp_path / "b.bin").read_bytes()[:-1])
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
    writer.add(ImageRecord(0, 0, 1, 1, 1, 0)._replace(**{field: 2**32 - 1 if field == "container" else 2**64 - 1}))
    writer.close(["a.bin"])
    with pytest.raises(ImageReadError):
        ImageIndex(path).read(0)


def test_names_are_stored_as_json(tmp_path: Path) -> None:
    path = write(tmp_path)
    tail = path.read_bytes()[HEADER.size + len(BLOBS) * RECORD.itemsize :]
    assert json.loads(tail) == ["a.bin", "b.bin"]
