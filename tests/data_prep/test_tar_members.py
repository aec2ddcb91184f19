"""The tar reader: what tarfile writes is read alike, and no archive, however damaged, is more than an error message."""

import gzip
import io
import os
import random
import tarfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
from reading_helpers import tar_bytes, tar_header

from data_prep.sources.tar_members import DamagedArchive, TarReader

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
END = bytes(1024)


def contents(path: Path) -> list[tuple[str, bytes, int | None, str | None]]:
    with TarReader(str(path)) as archive:
        return [(member.name, archive.read(), member.offset, member.odd_kind) for member in archive.members()]


def peak_of_reading(path: Path, read: bool = True) -> tuple[int, str]:
    """Bytes that reading allocates at most, and the message of the damage."""
    tracemalloc.start()
    message = ""
    try:
        with TarReader(str(path)) as archive:
            for _ in archive.members():
                if read:
                    archive.read()
    except DamagedArchive as error:
        message = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, message


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_tarfile_writes_is_read_alike(tmp_path: Path, format: int, mode: str) -> None:
    long_name = "folder/" * 14 + "x" * 90 + ".jpg"
    members = [
        ("a.jpg", b"first"),
        (long_name, bytes(512)),
        ("./b/c.d.txt", "caf\u00e9".encode()),
        ("caf\u00e9.txt", b""),
        ("last.bin", os.urandom(3_000_000)),
    ]
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes(members, format, mode))
    found = contents(path)
    assert [(name, content) for name, content, _, _ in found] == members
    assert all(kind is None for *_, kind in found)
    for _, content, offset, _ in found:
        assert (offset is None) == (mode == "w:gz")
        if offset is not None:
            assert path.read_bytes()[offset : offset + len(content)] == content


def test_members_need_not_be_read(tmp_path: Path) -> None:
    for mode in ("w", "w:gz"):
        (tmp_path / mode).write_bytes(tar_bytes([("a", bytes(5000)), ("b", b"x"), ("c", b"y")], mode=mode))
        with TarReader(str(tmp_path / mode)) as archive:
            last = [archive.read() for member in archive.members() if member.name == "c"]
        assert last == [b"y"]


def test_links_devices_pipes_and_sparse_files_are_named_and_folders_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    kinds = {
        "hard": tarfile.LNKTYPE, "soft": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE,
        "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "folder": tarfile.DIRTYPE,
    }  # fmt: skip
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        sparse = tarfile.TarInfo("sparse")
        sparse.size, sparse.pax_headers = 3, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        archive.addfile(sparse, io.BytesIO(b"abc"))
        plain = tarfile.TarInfo("plain")
        plain.size = 3
        archive.addfile(plain, io.BytesIO(b"def"))
    found = contents(path)
    assert {name: kind for name, _, _, kind in found} == {
        "hard": "a hard link", "soft": "a symbolic link", "fifo": "a pipe", "char": "a device", "block": "a device",
        "sparse": "a sparse file", "plain": None,
    }  # fmt: skip
    assert found[-1][1] == b"def"


def test_an_old_sparse_file_with_more_headers_is_passed_over(tmp_path: Path) -> None:
    header = bytearray(tar_header("sparse", b"00000000005\0", b"S"))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = bytes(504) + b"\x01" + bytes(7) + bytes(512)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + more + b"hello".ljust(512, b"\0") + tar_bytes([("next", b"found")]))
    assert [(name, content) for name, content, _, _ in contents(path)] == [("sparse", b"hello"), ("next", b"found")]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("name", ["big.jpg", "big.txt"])
def test_a_claimed_gigabyte_is_not_allocated(tmp_path: Path, mode: str, name: str) -> None:
    content = tar_header(name, b"%011o\0" % 2**30) + b"only this"
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(content) if mode == "w:gz" else content)
    for read in (True, False):
        peak, message = peak_of_reading(path, read)
        assert peak < 10_000_000
        assert message


@pytest.mark.parametrize("kind", [b"x", b"X", b"L", b"g", b"K"])
def test_an_endless_extended_header_is_not_allocated(tmp_path: Path, kind: bytes) -> None:
    bomb = tar_header("pax", b"%011o\0" % 200_000_000, kind) + bytes(200_000_000) + tar_bytes([("a", b"b")])
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bomb, 1))
    peak, message = peak_of_reading(path)
    assert peak < 10_000_000
    assert ("too many" in message) == (kind in (b"x", b"X", b"L"))


@pytest.mark.parametrize(
    "size",
    [
        b"-1",
        b"\xff" * 12,
        b"\x80" + b"\xff" * 11,
        b"\x80" + bytes(3) + b"\x7f" + bytes(7),
        b"99",
        b"0o7",
        b"1_0",
        b"\xb2",
    ],
)
def test_impossible_sizes_are_damage(tmp_path: Path, size: bytes) -> None:
    for pack in (bytes, gzip.compress):
        (tmp_path / "a.tar").write_bytes(pack(tar_header("a.jpg", size) + END))
        assert peak_of_reading(tmp_path / "a.tar", read=False)[1].startswith("at byte")


@pytest.mark.parametrize(
    "attributes",
    [
        b"5 a=",
        b"999 path=x\n",
        b"path=x\n",
        b"0 a=b\n",
        b"99999999999999999 a=b\n",
        b"11 size=-1\n",
        b"11 size=1_0\n",
        b"9 size=x\n",
    ],
)
def test_impossible_pax_attributes_are_damage(tmp_path: Path, attributes: bytes) -> None:
    content = tar_header("pax", b"%011o\0" % len(attributes), b"x") + attributes.ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(content + tar_bytes([("a.jpg", b"content")]))
    assert peak_of_reading(tmp_path / "a.tar")[1].startswith("at byte")


def test_names_are_printable_whatever_they_are(tmp_path: Path) -> None:
    names = {
        "../../etc/x.jpg": "../../etc/x.jpg", "/abs.jpg": "/abs.jpg", "a\nb.jpg": r"a\nb.jpg",
        "\udcff.jpg": r"\xff.jpg", "\u202egpj.txt": r"\u202egpj.txt",
    }  # fmt: skip
    (tmp_path / "a.tar").write_bytes(tar_bytes([(name, b"") for name in names]))
    assert [name for name, *_ in contents(tmp_path / "a.tar")] == list(names.values())


def test_a_missing_or_an_early_mark_of_the_end_is_a_warning(tmp_path: Path) -> None:
    whole = tar_bytes([("a.jpg", b"a")])
    for content, word in ((whole, "None"), (whole[:1024], "cut off"), (whole + whole, "behind the mark")):
        (tmp_path / "a.tar").write_bytes(content)
        with TarReader(str(tmp_path / "a.tar")) as archive:
            assert len(list(archive.members())) == 1
        assert word in str(archive.warning)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x1f\x8b", b"\x1f\x8b\x08garbage", bytes(100), b"<html>" * 500, b"PK\3\4" * 300]
)
def test_what_is_no_archive_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    assert peak_of_reading(tmp_path / "a.tar")[1].startswith("at byte")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_changed_bytes_raise_nothing_else(tmp_path: Path, pack: type) -> None:
    members = [(f"folder/{number}.{kind}", bytes([number]) * 300) for number in range(4) for kind in ("jpg", "txt")]
    whole = pack(tar_bytes([*members, ("n" * 150, b"long")], tarfile.PAX_FORMAT))
    path = tmp_path / "a.tar"
    read = 0
    for seed in range(400):
        chosen = random.Random(seed)
        changed = bytearray(whole)
        for _ in range(chosen.choice((1, 2, 10))):
            changed[chosen.randrange(len(changed))] = chosen.randrange(256)
        path.write_bytes(changed)
        with suppress(DamagedArchive):
            contents(path)
            read += 1
    assert read < 400


def test_memory_does_not_grow_with_the_number_of_members(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes([(f"{number:09d}.txt", b"text") for number in range(20_000)]))
    peak, message = peak_of_reading(tmp_path / "a.tar")
    assert not message
    assert peak < 3_000_000
