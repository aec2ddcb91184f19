"""Reader of Conceptual Captions: CC3M has lines ``caption<TAB>url``, CC12M ``url<TAB>caption``."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from ..files import base_name
from ..records import PrepError, RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option, split_and_path
from .image_ids import flickr_id_of_url
from .option_types import expanded, files_by_role
from .text_lines import tab_rows
from .url_names import UrlNames, add_url_name_options, is_url, url_names_of


def _folders(files: list[tuple[str, str]], names: UrlNames) -> list[str]:
    """Folder of each file's images: row numbers begin anew in each file, so several files need a folder each.

    Raises:
        PrepError: two files would have the same folder.
    """
    if names.by != "row" or len(files) == 1:
        return [""] * len(files)
    folders = [f"{PurePosixPath(base_name(path)).stem}/" for _, path in files]
    if len(set(folders)) != len(folders):
        raise PrepError("two --tsv files have the same name, and so their rows' images too: rename one of them")
    return folders


def read_cc(
    files: list[tuple[str, str]], folders: list[str], names: UrlNames, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows in the order of the lines.

    Args:
        files: (split, file).
        folders: what precedes the image names of each file.
        names: how the images are called.
        log: takes the lines that cannot be used.
        scratch: not used.

    Raises:
        PrepError, OSError: a file cannot be read.
    """
    for (split, path), folder in zip(files, folders, strict=True):
        for line, fields in tab_rows(path, 2, log):
            first, second = (field.strip() for field in fields)
            if is_url(first) == is_url(second):
                found = "both fields are addresses" if is_url(first) else "neither field is an address (http...)"
                log.add("malformed line", f"{found}; expected caption<TAB>url or url<TAB>caption", path, line)
                continue
            url, caption = (first, fields[1]) if is_url(first) else (second, fields[0])
            name = names.name(url, line - 1)
            if name is None:
                log.add("bad url", f"{url} ends without a file name", path, line, None, caption)
                continue
            flickr = flickr_id_of_url(url)
            yield Row((folder + name,), split, caption, path, line, ids=(flickr,) if flickr else ())


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tsv", type=split_and_path, action="append", required=True, metavar="[SPLIT=]FILE",
        help="Train_GCC-training.tsv, cc12m.tsv or alike; again for a further split: "
        "--tsv valid=Validation_GCC-1.1.0-Validation.tsv; quoted patterns: 'cc12m-{00..99}.tsv' (default split: train)",
    )  # fmt: skip
    add_images_option(
        parser,
        "folder (or URL) of the downloaded images; an image that is not there (dead link) is left out and listed; "
        "where several files are named by row, it has a folder for each, called as the file without .tsv",
    )
    add_url_name_options(parser, "row")


def _build(args: argparse.Namespace) -> TableSource:
    files, names = expanded(args.tsv), url_names_of(args)
    return TableSource(
        kind="cc",
        images=args.images,
        files=files_by_role("tsv", [path for _, path in files]),
        read=partial(read_cc, files, _folders(files, names), names),
        options={"splits": [split for split, _ in files], **names.options()},
        position_name="line",
    )


COMMAND = SourceCommand(
    name="cc",
    summary="Prepare Conceptual Captions (CC3M, CC12M) from their lists of addresses and the downloaded images.",
    example="mvlm-prep cc --tsv cc12m.tsv --images cc12m-images --name-by row --dest data-bin/cc12m",
    add_options=_add_options,
    build=_build,
)
