"""``mvlm-prep show``: everything that a data-bin knows of one caption or image, or of those that a run wrote down."""

import argparse
import json
from pathlib import Path

import numpy as np

from mvlm_plugin.data.image_index import ImageReadError
from mvlm_plugin.data.images import BadImageError, decode_rgb
from mvlm_plugin.data.pair_list import read_pairs
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import CaptionTokenizer, load_tokenizer

from ..records import PrepError
from ..similarity import NO_PERCEPTUAL
from ..tools import Tool
from .looking import printable

_MAX_CAPTIONS = 20
_PAIRS_AT_ONCE = 1 << 20


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("databin", type=Path, metavar="DATABIN", help="folder that mvlm-prep wrote")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--index", type=int, metavar="N", help="number of a caption, counted from 0")
    which.add_argument(
        "--ids",
        type=Path,
        metavar="FILE",
        help="the captions of DATABIN and the split that a training run wrote to its --save-dir: "
        "skipped_updates.rank*.jsonl (updates that were not finite) or bad_images.rank*.jsonl (images that could not "
        "be read)",
    )
    parser.add_argument("--image", action="store_true", help="N is the number of an image")
    parser.add_argument("--split", default="train", metavar="NAME", help="split (default: train)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the picture as it is trained on, as a PNG file")


def captions_of_image(store: PairStore, image: int) -> list[int]:
    """Captions of an image, the first 20; reads the pairs table in pieces."""
    found: list[int] = []
    for start in range(0, len(store), _PAIRS_AT_ONCE):
        here = np.asarray(store.pairs[start : start + _PAIRS_AT_ONCE]).reshape(-1, store.pairs[0].size)
        found.extend((np.flatnonzero((here == image).any(axis=1)) + start).tolist())
        if len(found) >= _MAX_CAPTIONS:
            break
    return found[:_MAX_CAPTIONS]


def _caption_lines(store: PairStore, index: int, tokenizer: CaptionTokenizer) -> list[str]:
    ids = store.captions.tokens(index).tolist()
    unknown = [token for token in ids if token >= len(tokenizer.dictionary)]
    text = f"not of this dictionary: {unknown}" if unknown else printable(tokenizer.decode(ids))
    lines = [f"caption {index}: {text}", f"  tokens: {' '.join(map(str, ids))}"]
    fields = store.fields(index)
    if fields is not None:
        lines.append(f"  label fields: {json.dumps(fields)}")
    return lines


def _image_lines(store: PairStore, image: int) -> list[str]:
    record = store.images.record(image)
    container = store.images.container_path(record.container)
    row = store.hashes[image]
    looks = "none, the picture is flat" if row["perceptual"] == NO_PERCEPTUAL else f"{int(row['perceptual']):016x}"
    return [
        f"image {image}: {printable(store.names[image])}",
        f"  size: {record.width} x {record.height} pixels, {record.length:,} bytes",
        f"  lies in: {printable(str(container))} from byte {record.offset:,}",
        f"  crc32: {record.crc32:08x}",
        f"  content hash: {row['content'].astype('<u8').tobytes().hex()} (first half of the SHA-256 in the source)",
        f"  perceptual hash: {looks}",
    ]


def _write_picture(store: PairStore, images: list[int], path: Path) -> list[str]:
    lines = []
    for number, image in enumerate(images):
        target = path if number == 0 else path.with_name(f"{path.stem}.{number + 1}{path.suffix}")
        try:
            decode_rgb(store.images.read(image)).save(target, "PNG")
        except (ImageReadError, BadImageError) as error:
            raise PrepError(f"image {image} cannot be written: {error}; look with mvlm-prep verify") from error
        lines.append(f"wrote {printable(str(target))}")
    return lines


def describe(store: PairStore, index: int, is_image: bool, tokenizer: CaptionTokenizer) -> tuple[list[str], list[int]]:
    """Lines that tell all about caption or image ``index``, and the images concerned.

    Raises:
        PrepError: the number is out of range.
    """
    count, kind = (len(store.images), "image") if is_image else (len(store), "caption")
    if not 0 <= index < count:
        option = "--image --index" if is_image else "--index"
        raise PrepError(f"{option} {index}: split {store.name} has the {count:,} {kind}s 0 to {count - 1}")
    lines: list[str] = []
    images = [index] if is_image else store.images_of(index)
    if not is_image:
        lines += _caption_lines(store, index, tokenizer)
    for image in images:
        lines += _image_lines(store, image)
        captions = captions_of_image(store, image)
        others = [caption for caption in captions if is_image or caption != index]
        if others and not is_image:
            lines.append("other captions of the image:")
        for caption in others:
            lines += _caption_lines(store, caption, tokenizer)
        if len(captions) == _MAX_CAPTIONS:
            lines.append(f"(not more than {_MAX_CAPTIONS} captions of an image are shown)")
    return lines, images


def listed_captions(path: Path, store: PairStore) -> list[int]:
    """The captions of a split that a file of a training run names, each once, in the order of the file.

    Raises:
        PrepError: it names none of this data-bin and split.
        DataBinError: it is no such file.
    """
    lists = read_pairs(path)
    here = [known for known in lists if known.split == store.name and _is_same(known.folder, store.folder)]
    if not here:
        named = sorted({f"{known.folder}, split {known.split}" for known in lists})
        raise PrepError(
            f"--ids {path} names no caption of {store.folder}, split {store.name}; it names those of: "
            f"{printable('; '.join(named)) or 'nothing'}"
        )
    return list(dict.fromkeys(pair for known in here for pair in known.pairs))


def _is_same(folder: str, other: Path) -> bool:
    """Whether a run's data-bin, whose path may be relative to another folder or of another machine, is this one."""
    if "\0" in folder:
        return False
    return Path(folder).resolve() == other.resolve() or Path(folder).name == other.resolve().name


def _show_listed(args: argparse.Namespace, store: PairStore, tokenizer: CaptionTokenizer) -> list[str]:
    """Raises PrepError: an option that needs a single caption, or see listed_captions() and describe()."""
    if args.image or args.out is not None:
        raise PrepError("--ids goes together with neither --image nor --out: show one caption with --index")
    captions = listed_captions(args.ids, store)
    return [line for caption in captions for line in describe(store, caption, False, tokenizer)[0]]


def _run(args: argparse.Namespace) -> int:
    store, tokenizer = PairStore(args.databin, args.split), load_tokenizer(args.databin)
    if args.ids is not None:
        print("\n".join([f"{printable(str(args.databin))}, split {store.name}", *_show_listed(args, store, tokenizer)]))
        return 0
    lines, images = describe(store, args.index, args.image, tokenizer)
    if args.out is not None:
        lines += _write_picture(store, images, args.out)
    print("\n".join([f"{printable(str(args.databin))}, split {store.name}", *lines]))
    return 0


TOOL = Tool(
    name="show",
    summary="Print all that is known of one caption or image of a data-bin, or of those that a run skipped; write the "
    "picture to a file.",
    example="mvlm-prep show data-bin/mine --index 12 --out picture.png",
    add_options=_add_options,
    run=_run,
)
