"""Parquet files, row by row: image paths and captions, or the images themselves as Hugging Face keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..files import open_binary
from ..image_files import MAX_ENCODED_BYTES, too_many_bytes
from ..records import BadImage, PrepError, RejectionLog, Sample
from .records_to_rows import BadRecord, Columns, texts_of

# Rows that are in memory at once: of paths, and of images, of which many in a small file may be the same large one.
_PATH_BATCH = 1024
_IMAGE_BATCH = 1
_READ_BUFFER = 1 << 20


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise PrepError("Parquet files need pyarrow: pip install 'mvlm-plugin[parquet]'") from error
    return pyarrow


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile; its errors, OSError without a number among them, become PrepError."""
    pyarrow = _pyarrow()
    with open_binary(path) as file:
        try:
            # Without pre-buffering and with a small buffer a row group is read a piece at a time.
            yield pyarrow.parquet.ParquetFile(file, buffer_size=_READ_BUFFER, pre_buffer=False)
        except (pyarrow.ArrowException, OSError, ValueError) as error:  # ValueError: column names are not UTF-8
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise PrepError(f"{path} is not usable Parquet ({error}); download or write it again") from error


def _kind(value_type: Any) -> str:
    """ "text", "texts", "bytes", "image" (a struct with bytes) or, for a label, "other"."""
    types = _pyarrow().types
    if types.is_dictionary(value_type):
        return _kind(value_type.value_type)
    if types.is_string(value_type) or types.is_large_string(value_type):
        return "text"
    if types.is_binary(value_type) or types.is_large_binary(value_type):
        return "bytes"
    if types.is_list(value_type) or types.is_large_list(value_type):
        return "texts" if _kind(value_type.value_type) == "text" else "other"
    if types.is_struct(value_type) and value_type.get_field_index("bytes") >= 0:
        return "image" if _kind(value_type.field("bytes").type) == "bytes" else "other"
    return "other"


def holds_images(path: str, columns: Columns) -> bool:
    """Whether the image column has images and not paths, after a check of every column's type.

    Raises:
        PrepError: the file is not Parquet, lacks a column, or a column's type cannot be used; pyarrow is missing.
        OSError: the file cannot be read.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
    for name in columns.all():
        if len(schema.get_all_field_indices(name)) != 1:
            raise PrepError(f"{path} has no column {name!r} (or two); it has: {', '.join(schema.names)[:300]}")
    wanted = {columns.image: ("text", "bytes", "image"), columns.split: ("text",)}
    wanted |= dict.fromkeys(columns.captions, ("text", "texts"))
    for column, kinds in wanted.items():
        if column is not None and _kind(schema.field(column).type) not in kinds:
            names = {"text": "text", "texts": "list of texts", "bytes": "bytes", "image": "struct with bytes and path"}
            choices = " or ".join(names[kind] for kind in kinds)
            raise PrepError(f"{path}: column {column!r} is {schema.field(column).type}, not {choices}; name another")
    return _kind(schema.field(columns.image).type) != "text"


def parquet_records(columns: Columns, path: str, log: RejectionLog, batch: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number (from 0) and values by column of each row; rows with a value that Python cannot have are logged.

    Raises:
        PrepError, OSError: the file cannot be read.
    """
    row = 0
    with _opened(path) as file:
        for rows in file.iter_batches(batch_size=batch, columns=columns.all(), use_threads=False):
            try:
                records = rows.to_pylist()
            except Exception:  # of nearly every type
                records = [_single(rows.slice(number, 1)) for number in range(len(rows))]
            for record in records:
                if isinstance(record, str):
                    log.add("malformed row", record, path, row)
                else:
                    yield row, record
                row += 1


def _single(row: Any) -> dict[str, Any] | str:
    """The values of a row, or why it has none: text that is no text, a day in the year 5,000,000, no such time zone."""
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError:
        return "a text is not UTF-8"
    except Exception as error:
        return f"a value cannot be read: {error}"


def path_records(columns: Columns, path: str, log: RejectionLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """parquet_records of a file whose images are paths.

    Raises:
        PrepError: as parquet_records and holds_images; the file has images where the first had paths.
        OSError: the file cannot be read.
    """
    if holds_images(path, columns):
        raise PrepError(f"{path} holds images, other files of --data paths: prepare them one after the other")
    yield from parquet_records(columns, path, log, _PATH_BATCH)


def read_parquet_images(columns: Columns, path: str, split: str, log: RejectionLog) -> Iterator[Sample]:
    """Samples of a Parquet file that holds images, in order. An image without a path is named by its row number.

    Args:
        columns: which columns to use.
        path: local path or URL.
        split: of rows without a column for it.
        log: takes the rows and captions that cannot be used.

    Raises:
        PrepError: as parquet_records and holds_images; the file has paths where the first had images.
        OSError: the file cannot be read.
    """
    if not holds_images(path, columns):
        raise PrepError(f"{path} holds paths, other files of --data images: prepare them one after the other")
    for row, record in parquet_records(columns, path, log, _IMAGE_BATCH):
        image = record[columns.image]
        data = image.get("bytes") if isinstance(image, dict) else image
        known = image.get("path") if isinstance(image, dict) else None
        name = known if isinstance(known, str) and known.strip() else f"{row:08d}"
        made = texts_of(record, columns, split)
        if isinstance(made, BadRecord):
            log.add(*made, path, row, name)
            continue
        for reason in made.dropped:
            log.add("bad record", reason, path, row, name)
        if not data:
            data = BadImage("missing image", "the row has no image bytes")
        elif len(data) > MAX_ENCODED_BYTES:
            data = too_many_bytes(len(data))
        yield Sample(
            name=name,
            data=data,
            offset=None,
            split=made.split,
            texts=made.texts,
            position=row,
            fields=None if made.fields is None else (made.fields,) * len(made.texts),
        )
