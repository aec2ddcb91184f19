"""Reader of SBU Captions: the two text files of the release, its JSON, and lists of image paths and captions."""

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from pathlib import Path

from ..records import MAX_CAPTIONS, TOO_MANY_CAPTIONS, PrepError, RejectionLog, Row
from .base import SourceCommand, TableSource, add_images_option
from .image_ids import flickr_id_of_url
from .json_stream import is_list, items
from .splits import add_subset_option, subset_of
from .text_lines import text_lines
from .url_names import UrlNames, add_url_name_options, is_url, url_names_of

_FIX = "give sbu-captions-all.json, or a list of objects with an image and a caption"
_MISSING = object()


def _url_row(url: str, row: int, names: UrlNames, made: Row, log: RejectionLog) -> Iterator[Row]:
    """The row with the image of an address; none, and an entry in the log, where the address is not usable."""
    name = names.name(url, row)
    if not is_url(url) or name is None:
        log.add("bad url", f"{url[:200]!r} is no address of an image", made.source, made.position, None, made.text)
        return
    flickr = flickr_id_of_url(url)
    yield made._replace(images=(name,), ids=(flickr,) if flickr else ())


def _read_lists(path: str, subset: str, names: UrlNames, log: RejectionLog) -> Iterator[Row]:
    """sbu-captions-all.json: two lists side by side."""
    pairs = zip_longest(items(path, "image_urls.item", _FIX), items(path, "captions.item", _FIX), fillvalue=_MISSING)
    for row, (url, caption) in enumerate(pairs):
        if url is _MISSING or caption is _MISSING:
            raise PrepError(f'{path}: the lists "image_urls" and "captions" differ in length; download it again')
        if not isinstance(url, str) or not isinstance(caption, str):
            log.add("bad record", "the address or the caption is not a text", path, row)
            continue
        yield from _url_row(url, row, names, Row((), subset, caption, path, row), log)


def _read_objects(path: str, subset: str, log: RejectionLog) -> Iterator[Row]:
    """A list of objects with "image", a path, and "caption", a text or several."""
    for row, entry in enumerate(items(path, "item", _FIX)):
        image = entry.get("image") if isinstance(entry, dict) else None
        captions = entry.get("caption") if isinstance(entry, dict) else None
        if not isinstance(image, str) or not image.strip() or not isinstance(captions, str | list) or captions == []:
            log.add("bad record", 'the entry needs texts "image" and "caption"', path, row)
            continue
        if isinstance(captions, list) and len(captions) > MAX_CAPTIONS:
            log.add(*TOO_MANY_CAPTIONS, path, row, image)
            continue
        for caption in [captions] if isinstance(captions, str) else captions:
            if isinstance(caption, str):
                yield Row((image,), subset, caption, path, row)
            else:
                log.add("bad record", "a caption is not a text", path, row, image)


def read_sbu_json(path: str, subset: str, names: UrlNames, log: RejectionLog, scratch: Path) -> Iterator[Row]:
    """Rows of a JSON file, in order.

    Args:
        path: an object with lists "image_urls" and "captions", or a list of objects with "image" and "caption".
        subset: split of every image.
        names: how the images of addresses are called.
        log: takes the entries that cannot be used.
        scratch: not used.

    Raises:
        PrepError: the file is not JSON or has neither form; the two lists differ in length.
        OSError: the file cannot be read.
    """
    return _read_objects(path, subset, log) if is_list(path) else _read_lists(path, subset, names, log)


def read_sbu_text(
    urls: str, captions: str, subset: str, names: UrlNames, log: RejectionLog, scratch: Path
) -> Iterator[Row]:
    """Rows of two files whose lines belong together.

    Args:
        urls: file of addresses.
        captions: file of captions.
        subset: split of every image.
        names: how the images are called.
        log: takes the lines that cannot be used.
        scratch: not used.

    Raises:
        PrepError: the files differ in length, so that addresses and captions may not belong together.
        OSError: a file cannot be read.
    """
    missing = (0, "")
    for (line, url), (other, caption) in zip_longest(
        text_lines(urls, log), text_lines(captions, log), fillvalue=missing
    ):
        if line == other:
            if url is None or caption is None:
                continue
            if url.strip() or caption.strip():
                yield from _url_row(url.strip(), line - 1, names, Row((), subset, caption, captions, line), log)
        elif url is None or caption is None or url.strip() or caption.strip():
            raise PrepError(
                f"{urls} and {captions} differ in their number of lines ({'the first' if other == 0 else 'the second'} "
                "is longer): give two files of one release, downloaded completely"
            )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", metavar="FILE",
        help="sbu-captions-all.json, or a list [{\"image\": PATH, \"caption\": TEXT}, ...]",
    )  # fmt: skip
    parser.add_argument(
        "--urls", metavar="FILE", help="instead of --json: SBU_captioned_photo_dataset_urls.txt, with --captions"
    )
    parser.add_argument("--captions", metavar="FILE", help="SBU_captioned_photo_dataset_captions.txt")
    add_images_option(
        parser, "folder (or URL) of the downloaded photos; a photo that is not there is left out and listed"
    )
    add_subset_option(parser)
    add_url_name_options(parser, "url-basename")


def _build(args: argparse.Namespace) -> TableSource:
    subset, names = subset_of(args), url_names_of(args)
    if bool(args.json) == bool(args.urls or args.captions) or bool(args.urls) != bool(args.captions):
        raise PrepError("give either --json, or both --urls and --captions")
    if args.json:
        files = {"json": args.json}
        read = partial(read_sbu_json, args.json, subset, names)
    else:
        files = {"urls": args.urls, "captions": args.captions}
        read = partial(read_sbu_text, args.urls, args.captions, subset, names)
    return TableSource(
        kind="sbu", images=args.images, files=files, read=read, options={"subset": subset, **names.options()},
        position_name="record" if args.json else "line",
    )  # fmt: skip


COMMAND = SourceCommand(
    name="sbu",
    summary="Prepare SBU Captions from its lists of addresses and the downloaded photos.",
    example="mvlm-prep sbu --json sbu-captions-all.json --images sbu-images --dest data-bin/sbu",
    add_options=_add_options,
    build=_build,
)
