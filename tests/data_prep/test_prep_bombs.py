"""Small sources that unpack to very much, floods of captions, splits and characters: nothing grows without bounds."""

import os
import tracemalloc
from pathlib import Path

import pyarrow
import pytest
from hostile_archives import many_attributes
from hostile_checks import check_databin
from hostile_forms import FORMS, Form
from hostile_images import many_scans, png, zeros
from hostile_items import FIRST_NUMBER, Item, good_item
from hostile_runs import Place, Result, check_result, run_forked
from hostile_tables import ParquetForm
from hostile_tars import TarForm, good_sample, member
from prep_helpers import counts_of, manifest_of, rejections
from pyarrow import parquet

from data_prep.sources.tar_members import TarReader

BY_NAME: dict[str, Form] = {form.name: form for form in FORMS}


def good_items(form: Form | ParquetForm | TarForm, count: int = 4) -> list[Item]:
    return [good_item(FIRST_NUMBER + number, form.image_name) for number in range(count)]


def prepare(place: Place, arguments: list[str], *options: str) -> Result:
    place.remember()
    options = options or ("--vocab-size", "100")
    result = run_forked([*arguments, *options, "--workers", "1", "--dest", str(place.databin)], place)
    check_result(result)
    assert result.status == 0, result.error[-2000:]
    place.check(finished=True)
    assert result.seconds < 20
    return result


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


@pytest.mark.parametrize(
    "data",
    [png(7000, 7000, 8, 6, zeros(7000 * 28_001)), many_scans(6500, 6500, 90)],
    ids=["PNG with transparency", "JPEG of many scans"],
)
def test_the_largest_images_take_bounded_memory(place: Place, data: bytes) -> None:
    items = good_items(BY_NAME["tsv"])
    items[1].data = data
    prepare(place, BY_NAME["tsv"].write(place.raw, items))
    check_databin(items, place, True)


def disguised(jpeg: bytes) -> bytes:
    """A JPEG with a comment that, to those who take a fill byte for a marker, holds the header of the only scan."""
    header = b"\xff\xc0\0\x0b\x08\0\x10\0\x10\1\1\x11\0" + b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    comment = b"\xff\xff\xfe\xff\xff" + (bytes(65_276) + header).ljust(65_533, b"\0")
    return jpeg[:2] + comment + jpeg[2:]


@pytest.mark.parametrize("data", [many_scans(16, 16, 3000), disguised(many_scans(16, 16, 3000))])
def test_thousands_of_scans_are_refused(place: Place, data: bytes) -> None:
    items = good_items(BY_NAME["tsv"])
    items[1].data = data
    prepare(place, BY_NAME["tsv"].write(place.raw, items))
    (entry,) = rejections(place.databin)
    assert "scans" in str(entry["reason"])


def test_one_large_value_for_many_rows_of_parquet_is_in_memory_once(place: Place) -> None:
    form = ParquetForm("images", True)
    arguments = form.write(place.raw, good_items(form))
    path = next(place.raw.glob("*.parquet"))
    table = parquet.read_table(path)
    image = pyarrow.array([{"bytes": bytes(64 << 20), "path": "large.jpg"}], table.schema.field("image").type)
    large = table.slice(0, 1).set_column(0, "image", image)
    parquet.write_table(pyarrow.concat_tables([table, *[large] * 16]), path, compression="zstd", row_group_size=100)
    assert path.stat().st_size < 1_000_000
    result = prepare(place, arguments)
    assert len(rejections(place.databin)) == 16
    assert result.memory < 1_200_000_000


def test_more_captions_than_an_image_may_have_are_listed(place: Place) -> None:
    form = BY_NAME["tsv"]
    items = good_items(form)
    line = f"{items[1].name}\ta dog\n".encode()
    items[1].raw = {"lines": (line * 10_003).strip(), "splits": f"{items[1].name}\ttrain".encode()}
    prepare(place, form.write(place.raw, items))
    assert counts_of(place.databin, "captions") == {"train": 10_003}
    assert [entry["line"] for entry in rejections(place.databin)] == [10_002, 10_003, 10_004]


@pytest.mark.parametrize("name", ["jsonl", "karpathy", "sbu objects", "webdataset"])
def test_a_record_of_very_many_captions_is_listed_once(place: Place, name: str) -> None:
    form = BY_NAME.get(name) or TarForm(name)
    items = good_items(form)
    many = b",".join([b'"a"'] * 200_000)
    path = items[1].name
    items[1].raw = {
        "jsonl": {"lines": b'{"image": "%s", "split": "train", "caption": [%s]}' % (path.encode(), many)},
        "karpathy": {
            "images": b'{"filename": "%s", "split": "train", "sentences": [%s]}'
            % (path.encode(), many.replace(b'"a"', b'{"raw": "a"}'))
        },
        "sbu objects": {"entries": b'{"image": "%s", "caption": [%s]}' % (path.encode(), many)},
        "webdataset": member(path, items[1].data) + member(f"{items[1].number}.txt", b"a\n" * 200_000),
    }[name]
    prepare(place, form.write(place.raw, items))
    (entry,) = rejections(place.databin)
    assert "at most 10,000" in str(entry["reason"])


def test_very_many_splits_are_listed(place: Place) -> None:
    form = BY_NAME["karpathy"]
    items = good_items(form, 100)
    for number, item in enumerate(items[2:]):
        record = b'{"filename": "%s", "split": "s%d", "sentences": [{"raw": "a dog"}]}' % (item.name.encode(), number)
        item.raw = {"images": record}
    prepare(place, form.write(place.raw, items))
    assert len(manifest_of(place.databin)["splits"]) == 64
    assert all("one more than 64 splits" in str(entry["reason"]) for entry in rejections(place.databin))
    assert len(rejections(place.databin)) == 35


def test_more_characters_than_pieces_do_not_stop_the_training(place: Place) -> None:
    form = BY_NAME["tsv"]
    items = good_items(form, 40)
    for number in range(5):
        items[number].text = "".join(chr(0x4E00 + 300 * number + character) for character in range(300))
    prepare(place, form.write(place.raw, items), "--vocab-size", "100")
    assert counts_of(place.databin) == {"train": 40}
    check_databin(items[5:], place, True)


@pytest.mark.parametrize("form", [BY_NAME["jsonl"], BY_NAME["tsv"], TarForm("webdataset")], ids=lambda form: form.name)
@pytest.mark.parametrize("store", ["packed", "reference"])
def test_sources_may_lie_in_folders_of_any_name(place: Place, form: Form | TarForm, store: str) -> None:
    arguments = form.write(place.raw, good_items(form))
    os.rename(place.raw, os.fsencode(place.root) + b"/\xff\n")
    moved = [argument.replace("/raw", "/\udcff\n") for argument in arguments]
    prepare(place, moved, "--image-store", store, "--vocab-size", "100")
    assert counts_of(place.databin) == {"train": 4}


def test_attributes_of_a_member_that_mean_nothing_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"".join(many_attributes(30)) + good_sample(FIRST_NUMBER))
    tracemalloc.start()
    with TarReader(str(tmp_path / "a.tar")) as archive:
        assert [member.size > 0 for member in archive.members()] == [True] * 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
