"""The hostile inputs of a test run: how many, of which kinds, in which sources; the same for the same seed."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hostile_archives import damaged_archive
from hostile_forms import FORMS, Form
from hostile_images import bad_image, encoded, picture
from hostile_items import FIRST_NUMBER, Item, good_item, mixed, words
from hostile_names import bad_name
from hostile_rows import bad_row
from hostile_tables import FolderForm, ParquetForm
from hostile_tars import TarForm

AnyForm = Form | ParquetForm | FolderForm | TarForm
ALL_FORMS: tuple[AnyForm, ...] = (
    *FORMS,
    ParquetForm("parquet of paths", False),
    ParquetForm("parquet of images", True),
    FolderForm(),
    TarForm("webdataset"),
    TarForm("webdataset, reference", ("--image-store", "reference")),
)
FILE_FORMS: tuple[Form | ParquetForm, ...] = tuple(form for form in ALL_FORMS if isinstance(form, Form | ParquetForm))
_TAR_FORMS = tuple(form for form in ALL_FORMS if isinstance(form, TarForm))
SEED = os.environ.get("MVLM_HOSTILE_SEED", "1")
_BATCH = 30
_NUMBERS_OF_BATCH = 500
# Of 100 inputs so many are whole archives and whole files; the others are records.
_ARCHIVES = 12
_FILES = 13
# What varies from batch to batch; images are then not always stored as they are.
_OPTIONS: tuple[tuple[str, ...], ...] = (
    (), ("--part-images", "7"), ("--image-store", "reference"), ("--quality", "85"), ("--max-side", "16"),
    ("--min-words", "1"),
)  # fmt: skip


class Batch(NamedTuple):
    """Bad records, or whole archives, that go through mvlm-prep at once."""

    form: AnyForm
    number: int
    count: int
    archives: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Options of mvlm-prep beyond those of the source."""
        options = _OPTIONS[self.number % len(_OPTIONS)]
        if self.form.name == "webdataset, reference":
            return ()
        no_reference = isinstance(self.form, TarForm) or self.form.name == "parquet of images"
        return () if no_reference and "--image-store" in options else options

    @property
    def same_bytes(self) -> bool:
        """Whether images are stored as they are."""
        return not {"--quality", "--max-side"} & {*self.options}


def _shares(total: int, forms: tuple[AnyForm, ...]) -> Iterator[tuple[AnyForm, int]]:
    for position, form in enumerate(forms):
        yield form, total // len(forms) + (position < total % len(forms))


def batches(total: int) -> list[Batch]:
    """Batches of a run of so many inputs; together with files_count() they are as many."""
    archives = total * _ARCHIVES // 100
    records = total - archives - files_count(total)
    shares = [(*share, False) for share in _shares(records, ALL_FORMS)]
    shares += [(*share, True) for share in _shares(archives, _TAR_FORMS)]
    numbers = count()
    return [
        Batch(form, next(numbers), min(_BATCH, share - start), is_archive)
        for form, share, is_archive in shares
        for start in range(0, share, _BATCH)
    ]


def files_count(total: int) -> int:
    """How many inputs of a run are whole files."""
    return total * _FILES // 100


def batch_items(batch: Batch, outside: Path) -> list[Item]:
    """The records of a batch, good and bad; outside: a folder with canaries."""
    random = Random(f"{SEED} {batch.number}")
    first = FIRST_NUMBER + _NUMBERS_OF_BATCH * batch.number
    good = (good_item(number, batch.form.image_name) for number in count(first))
    bad_numbers = range(first + 200, first + 200 + 3 * batch.count, 3)
    if batch.archives:
        compressed = batch.form.name == "webdataset"
        return [next(good), next(good), *(damaged_archive(random, number, compressed) for number in bad_numbers)]
    bad = [
        _bad_item(random, batch, number, 11 * batch.number + index, outside, first)
        for index, number in enumerate(bad_numbers)
    ]
    return mixed(random, bad, good, 3)


def _bad_item(random: Random, batch: Batch, number: int, index: int, outside: Path, first: int) -> Item:
    """A record with a bad image, a bad name, or that is bad itself."""
    form = batch.form
    name, text = form.image_name(number), words(number)
    item = Item("", None, number, name, text, encoded(picture(number), "PNG"))
    turn = index % 10
    if turn < 5 or (turn < 7 and form.names is None):
        image = bad_image(random, index // 10 * 5 + turn)
        return replace(item, kind=image.kind, data=image.data, must=_must(image.must, batch))
    if turn < 7 and form.names is not None:
        found = bad_name(random, number, name, form.names, outside)
        return replace(item, kind=found.kind, name=found.name, data=found.make, must=found.must)
    rows: dict[type, Callable[[Any], tuple[str, Any, bool | None]]] = {
        Form: lambda form: bad_row(random, form, name, text, number, index),
        ParquetForm: lambda form: form.bad_row(random, name, number, index, first),
        FolderForm: lambda form: form.bad_row(random, outside),
        TarForm: lambda form: form.bad_row(random, name, number, index),
    }
    kind, raw, must = rows[type(form)](form)
    return replace(item, kind=kind, raw=raw, must=must)


def _must(must: bool | None, batch: Batch) -> bool | None:
    """What cannot be stored as JPEG, or has the bytes of another image, may be rejected."""
    return must if must or batch.same_bytes else None
