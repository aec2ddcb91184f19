"""Readers of tables with columns by name: JSON Lines, CSV and Parquet."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..records import PrepError, RejectionLog, Row
from .base import ArchiveSource, Source, SourceCommand, TableSource, add_images_option, split_and_path
from .csv_records import csv_records
from .json_lines import json_lines
from .option_types import expanded, files_by_role, names_list
from .parquet import holds_images, path_records, read_parquet_images
from .records_to_rows import BadRecord, Columns, image_name, texts_of

_Reader = Callable[[str, RejectionLog], Iterator[tuple[int, dict[str, Any]]]]


def read_table(
    reader: _Reader, files: list[tuple[str, str]], columns: Columns, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows of tables that name image files, a row for each caption, in order.

    Args:
        reader: gives position and values by column of each record of a file.
        files: (split, file); the split is that of records without a column for it.
        columns: which columns to use.
        log: takes the records and captions that cannot be used.
        scratch: not used.

    Raises:
        PrepError: a file is not what it should be, or lacks a column.
        OSError: a file cannot be read.
    """
    for split, path in files:
        for position, record in reader(path, log):
            image = image_name(record.get(columns.image))
            if image is None:
                reason = f'"{columns.image}" is missing, empty or no text'
                log.add("bad record", reason, path, position)
                continue
            made = texts_of(record, columns, split)
            if isinstance(made, BadRecord):
                log.add(*made, path, position, image)
                continue
            for reason in made.dropped:
                log.add("bad record", reason, path, position, image)
            for text in made.texts:
                yield Row((image,), made.split, text, path, position, made.fields)


def _add_data_options(parser: argparse.ArgumentParser, ending: str) -> None:
    parser.add_argument(
        "--data", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help=f"a file or a quoted pattern, 'part-*.{ending}' or 'part-{{000..331}}.{ending}'; again for a further "
        f"split: --data train.{ending} --data valid=val.{ending} (default split: train)",
    )  # fmt: skip
    parser.add_argument(
        "--split-column", metavar="NAME", help="column that has the split of each record; then no SPLIT= is given"
    )
    parser.add_argument("--image-column", default="image", metavar="NAME", help="column of the image (default: image)")
    several = "" if ending == "csv" else "; a list of texts is several captions"
    parser.add_argument(
        "--caption-column", type=names_list, action="extend", metavar="NAME,NAME",
        help=f"column of the caption, or several columns{several} (default: caption)",
    )  # fmt: skip
    parser.add_argument(
        "--fields", type=names_list, default=[], metavar="NAME,NAME",
        help="columns that are stored with the caption as label fields",
    )  # fmt: skip


def _columns(args: argparse.Namespace) -> Columns:
    captions = tuple(dict.fromkeys(args.caption_column or ["caption"]))
    if args.split_column and any(split != "train" for split, _ in args.data):
        raise PrepError("--split-column tells the splits: leave SPLIT= out of --data")
    return Columns(args.image_column, captions, args.split_column, tuple(args.fields))


def _table_source(
    kind: str, reader: _Reader, files: list[tuple[str, str]], columns: Columns, args: argparse.Namespace, position: str
) -> TableSource:
    return TableSource(
        kind=kind,
        images=args.images,
        files=files_by_role("data", [path for _, path in files]),
        read=partial(read_table, reader, files, columns),
        options={"splits": [split for split, _ in files], **columns.options()},
        position_name=position,
    )


def _add_jsonl_options(parser: argparse.ArgumentParser) -> None:
    _add_data_options(parser, "jsonl")
    add_images_option(parser)


def _build_jsonl(args: argparse.Namespace) -> TableSource:
    return _table_source("jsonl", json_lines, expanded(args.data), _columns(args), args, "line")


def _delimiter(text: str) -> str:
    char = "\t" if text in ("\\t", "tab") else text
    if len(char) != 1 or char in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} must be one character, or tab")
    return char


def _add_csv_options(parser: argparse.ArgumentParser) -> None:
    _add_data_options(parser, "csv")
    add_images_option(parser)
    parser.add_argument(
        "--delimiter", type=_delimiter, default=",", metavar="CHAR",
        help="between the fields, e.g. ';' or tab; the first line names the columns (default: ,)",
    )  # fmt: skip


def _build_csv(args: argparse.Namespace) -> TableSource:
    columns = _columns(args)
    reader = partial(csv_records, args.delimiter, columns)
    source = _table_source("csv", reader, expanded(args.data), columns, args, "line")
    source.options["delimiter"] = args.delimiter
    return source


def _add_parquet_options(parser: argparse.ArgumentParser) -> None:
    _add_data_options(parser, "parquet")
    parser.add_argument(
        "--images", metavar="DIR",
        help="folder (or URL) that the image paths are relative to; left out where the image column holds the images "
        "themselves, as bytes or as Hugging Face's {bytes, path}",
    )  # fmt: skip


def _build_parquet(args: argparse.Namespace) -> Source:
    files, columns = expanded(args.data), _columns(args)
    if not holds_images(files[0][1], columns):
        if args.images is None:
            raise PrepError(
                f"column {columns.image!r} of {files[0][1]} holds paths: say with --images what they start at"
            )
        return _table_source("parquet", partial(path_records, columns), files, columns, args, "row")
    if args.images is not None:
        raise PrepError(f"column {columns.image!r} of {files[0][1]} holds the images themselves: leave out --images")
    return ArchiveSource(
        kind="parquet",
        archives=files,
        read=partial(read_parquet_images, columns),
        options=columns.options(),
        can_reference=False,
        position_name="row",
    )


COMMANDS = [
    SourceCommand(
        name="jsonl",
        summary="Prepare images whose captions are in JSON Lines: an object a line.",
        example="mvlm-prep jsonl --data train.jsonl --data valid=val.jsonl --images images --dest data-bin/my-set",
        add_options=_add_jsonl_options,
        build=_build_jsonl,
    ),
    SourceCommand(
        name="csv",
        summary="Prepare images whose captions are in CSV files with a header line.",
        example="mvlm-prep csv --data captions.csv --image-column file --caption-column text --split-column split "
        "--images images --dest data-bin/my-set",
        add_options=_add_csv_options,
        build=_build_csv,
    ),
    SourceCommand(
        name="parquet",
        summary="Prepare Parquet files with captions and either image paths or the images themselves.",
        example="mvlm-prep parquet --data 'data/train-*.parquet' --data 'valid=data/validation-*.parquet' "
        "--caption-column caption --dest data-bin/my-set",
        add_options=_add_parquet_options,
        build=_build_parquet,
    ),
]
