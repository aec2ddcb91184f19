"""Webdataset archives that are damaged or hostile: nothing raises, nothing is lost silently, memory stays small."""

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest
from reading_helpers import tar_bytes, tar_header
from webdataset_helpers import JPG, img2dataset_members, read

from data_prep.records import BadImage


def test_an_image_of_more_bytes_than_allowed_is_not_read(tmp_path: Path) -> None:
    size = 2**28 + 512
    head, tail = tar_header("1.jpg", b"%011o\0" % size), tar_bytes([("1.txt", b"t"), ("2.jpg", JPG), ("2.txt", b"t")])
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
        file.write(head)
        for _ in range(size // 2**19):
            file.write(bytes(2**19))
        file.write(bytes(size % 2**19))
        file.write(tail)
    tracemalloc.start()
    samples, rejected = read(tmp_path / "a.tar.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    assert isinstance(samples[0].data, BadImage)
    assert (samples[1].data, samples[1].offset, rejected) == (JPG, None, [])


def test_every_truncation_is_listed_and_what_is_before_it_is_read(tmp_path: Path) -> None:
    members = img2dataset_members(3)
    whole = tar_bytes(members)
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path = tmp_path / "a.tar"
    path.write_bytes(whole)
    expected, _ = read(path)
    for cut in [*range(0, end + 1024, 512), *range(100, end + 1024, 512)]:
        path.write_bytes(whole[:cut])
        samples, rejected = read(path)
        assert samples == expected[: len(samples)]
        assert len(samples) >= (cut - 1024) // (end // 3)
        if cut < end + 512:
            assert any("damaged" in entry["reason"] or "byte" in entry["reason"] for entry in rejected), cut
        else:
            assert (len(samples), rejected) == (3, [])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_no_change_of_bytes_raises_or_loses_a_sample_silently(tmp_path: Path, pack: type) -> None:
    whole = pack(tar_bytes(img2dataset_members(4)))
    path = tmp_path / "a.tar"
    for seed in range(300):
        chosen = random.Random(seed)
        changed = bytearray(whole)
        for _ in range(chosen.choice((1, 3, 20))):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        path.write_bytes(changed)
        samples, rejected = read(path, fields=("clip",))
        assert len(samples) == 4 or rejected


def test_the_sample_at_the_damage_is_listed_by_name(tmp_path: Path) -> None:
    content = bytearray(
        tar_bytes([("1.jpg", JPG), ("1.txt", b"t"), ("2.jpg", JPG), ("2.txt", b"t"), ("2.json", b"{}")])
    )
    content[512 * 8 + 3] ^= 255
    (tmp_path / "a.tar").write_bytes(content)
    samples, rejected = read(tmp_path / "a.tar")
    assert [sample.name for sample in samples] == ["1.jpg"]
    assert [entry["position"] for entry in rejected] == ["2.txt", "2.jpg"]
    assert "at byte 4,096" in rejected[0]["reason"]
