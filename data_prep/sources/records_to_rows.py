"""From a record (a JSON object, a line of CSV, a row of Parquet) to texts, label fields and a split."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..records import MAX_CAPTIONS, TOO_MANY_CAPTIONS
from .json_stream import MAX_DEPTH
from .splits import usable_split
from .text_lines import is_unicode


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what.

    Attributes:
        image: path of the image, or the image itself.
        captions: columns of captions, in order.
        split: column of the split, or None.
        fields: columns that become label fields.
    """

    image: str
    captions: tuple[str, ...]
    split: str | None
    fields: tuple[str, ...]

    def all(self) -> list[str]:
        """Every column that is read, each once."""
        return list(dict.fromkeys([self.image, *self.captions, *([self.split] if self.split else []), *self.fields]))

    def options(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


class BadRecord(NamedTuple):
    """Category and reason of a rejected record."""

    category: str
    reason: str


class Texts(NamedTuple):
    """What a record says about its image.

    Attributes:
        split: as it is stored.
        texts: captions in order; at least one.
        fields: label fields, or None where no column is one.
        dropped: reasons why single captions cannot be used.
    """

    split: str
    texts: tuple[str, ...]
    fields: dict[str, Any] | None
    dropped: tuple[str, ...]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _is_json(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether a value can be stored as JSON."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return depth > 0 and all(_is_json(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return depth > 0 and all(isinstance(key, str) and _is_json(item, depth - 1) for key, item in value.items())
    return value is None or isinstance(value, str | int)


def _captions(record: Mapping[str, Any], columns: Columns) -> tuple[list[str], list[str]]:
    """Usable captions, and reasons for the others. A column that is missing or null is passed over."""
    texts: list[str] = []
    dropped: list[str] = []
    for column in columns.captions:
        value = record.get(column)
        for item in value if isinstance(value, list) else [] if _is_missing(value) else [value]:
            if isinstance(item, str):
                texts.append(item)
            else:
                dropped.append(f'a caption in "{column}" is {type(item).__name__}, not a text')
    return texts, dropped


def texts_of(record: Mapping[str, Any], columns: Columns, split: str) -> Texts | BadRecord:
    """What a record says, or why it cannot be used.

    Args:
        record: values by column.
        columns: which columns to use.
        split: of records without a column for it.
    """
    if columns.split is not None:
        value = record.get(columns.split)
        if not isinstance(value, str):
            return BadRecord("no split", f'"{columns.split}" is missing or not a text')
        usable, problem = usable_split(value.strip())
        if usable is None:
            return BadRecord("bad split name", problem)
        split = usable
    if sum(len(value) for value in map(record.get, columns.captions) if isinstance(value, list)) > MAX_CAPTIONS:
        return BadRecord(*TOO_MANY_CAPTIONS)
    texts, dropped = _captions(record, columns)
    if not texts:
        names = ", ".join(f'"{column}"' for column in columns.captions)
        return BadRecord("no caption", "; ".join(dropped[:1]) or f"no caption in {names}")
    fields: dict[str, Any] = {}
    for column in columns.fields:
        value = record.get(column)
        if _is_missing(value):
            continue
        if not _is_json(value):
            return BadRecord("bad record", f'label field "{column}" is {type(value).__name__}, which is no JSON')
        fields[column] = value
    return Texts(split, tuple(texts), fields if columns.fields else None, tuple(dropped))


def image_name(value: Any) -> str | None:
    """A value that can name an image file, else None."""
    return value if isinstance(value, str) and value.strip() and is_unicode(value) else None
