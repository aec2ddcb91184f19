"""Options that every source has in common, and how their values are read."""

import argparse
from dataclasses import replace
from pathlib import Path

from mvlm_plugin.data.images import DEFAULT_MAX_PIXELS

from .captions import CaptionLimits
from .distribution import DISTRIBUTORS
from .exclusion import add_exclusion_options
from .image_check import DEFAULT_QUALITY, ImageSettings
from .parallel import available_cores
from .prepare import PART_IMAGES, Options
from .records import PrepError
from .tokenizer_training import (
    DEFAULT_VOCAB_SIZE,
    CopiedTokenizer,
    GivenGpt2,
    GivenWordPiece,
    TokenizerSource,
    TrainedSentencePiece,
)

DEFAULT_MAX_CHARS = 10_000
# Pillow itself refuses images that are larger.
_PILLOW_MAX_PIXELS = 178_956_970
# The options of each tokenizer, and which of them it needs not have.
_TOKENIZER_OPTIONS = {
    "sentencepiece": ("--vocab-size",),
    "gpt2-bpe": ("--encoder-json", "--vocab-bpe", "--dict"),
    "wordpiece": ("--vocab-txt", "--cased"),
}
_OPTIONAL = {"--vocab-size", "--cased"}


def _whole_number(text: str, low: int, high: int | None = None) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"from {low} to {high}"
        raise argparse.ArgumentTypeError(f"{value} must be {limits}")
    return value


def positive(text: str) -> int:
    """A number of at least 1."""
    return _whole_number(text, 1)


def pairs_count(text: str) -> int:
    """A number of at least 8, so that each split gets a picture."""
    return _whole_number(text, 8)


def seed(text: str) -> int:
    """A number of at least 0."""
    return _whole_number(text, 0)


def image_side(text: str) -> int:
    """Height and width of generated pictures, in pixels."""
    return _whole_number(text, 32, 1024)


def _quality(text: str) -> int:
    return _whole_number(text, 1, 100)


def shard_range(text: str) -> tuple[int, int]:
    """First shard and the one after the last, written A:B."""
    first, _, end = text.partition(":")
    if not (first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A:B with A below B")
    return int(first), int(end)


def _max_pixels(text: str) -> int:
    return _whole_number(text, 1, _PILLOW_MAX_PIXELS)


def add_workers_option(parser: argparse.ArgumentParser) -> None:
    """Add --workers."""
    parser.add_argument(
        "--workers", type=positive, default=available_cores(), metavar="N",
        help="processes; the result does not depend on it (default: all cores)",
    )  # fmt: skip


def add_write_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of writing and of the tokenizer, which also generated data have."""
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="data-bin folder to write")
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace a data-bin that --dest already holds, and unfinished work of other options",
    )  # fmt: skip
    add_workers_option(parser)
    parser.add_argument(
        "--max-pixels", type=_max_pixels, default=DEFAULT_MAX_PIXELS, metavar="N",
        help=f"reject images of more than N pixels (default: {DEFAULT_MAX_PIXELS})",
    )  # fmt: skip
    _add_tokenizer_options(parser)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every source of images and captions has."""
    add_write_options(parser)
    _add_image_options(parser)
    _add_caption_options(parser)
    group = parser.add_argument_group("evaluation sets kept out of training")
    add_exclusion_options(group)
    _add_scale_options(parser)


def _add_image_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    group.add_argument(
        "--image-store", choices=("packed", "reference"), default="packed",
        help="packed: copy the encoded images into the data-bin (default); reference: point into the files or "
        "uncompressed tars that are there, which must then stay as they are",
    )  # fmt: skip
    group.add_argument(
        "--max-side", type=positive, metavar="PIXELS",
        help="make images whose longer side is larger smaller, and store them as JPEG",
    )  # fmt: skip
    group.add_argument(
        "--quality", type=_quality, metavar="Q",
        help=f"store every image as JPEG of this quality, 1 to 100 (with --max-side alone: {DEFAULT_QUALITY}, and only "
        "those that are made smaller)",
    )  # fmt: skip
    group.add_argument(
        "--duplicates", choices=("keep", "merge", "drop"), default="keep",
        help="images with the same bytes, which are counted in any case. keep: store all (default); merge: within a "
        "split, store one and give it the captions of all; drop: keep the first, of a held-out split before train",
    )  # fmt: skip


def _add_caption_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("captions")
    group.add_argument(
        "--min-words", type=positive, default=1, metavar="N", help="reject captions of fewer words (default: 1)"
    )
    group.add_argument(
        "--max-chars", type=positive, default=DEFAULT_MAX_CHARS, metavar="N",
        help=f"reject captions of more characters (default: {DEFAULT_MAX_CHARS})",
    )  # fmt: skip


def _add_scale_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scale")
    group.add_argument(
        "--shards", type=positive, default=1, metavar="N",
        help="divide the train split into N data-bins DEST/shard0 ... for fairseq-train DEST/shard0:DEST/shard1:..., "
        "an epoch each; held-out splits go to shard0 (default: one data-bin)",
    )  # fmt: skip
    group.add_argument(
        "--shard-range", type=shard_range, metavar="A:B",
        help="make only shards A to B - 1, as one job of an array does; when all jobs are done: mvlm-prep merge DEST",
    )  # fmt: skip
    group.add_argument(
        "--distributor", choices=DISTRIBUTORS, default="local",
        help="local: processes of this machine (default); ray: a Ray cluster that sees the same files (extra: ray)",
    )  # fmt: skip
    group.add_argument(
        "--part-images", type=positive, metavar="N",
        help="images of a unit of work, after which a killed run goes on; each has an image container of its own "
        f"(default: {PART_IMAGES}, more beyond a million images; archives are a unit each)",
    )  # fmt: skip


def _add_tokenizer_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tokenizer")
    group.add_argument(
        "--tokenizer", choices=tuple(_TOKENIZER_OPTIONS),
        help="sentencepiece: trained on the train captions (default); gpt2-bpe: RoBERTa's, from the three files below; "
        "wordpiece: BERT's, from --vocab-txt (extra: lite)",
    )  # fmt: skip
    group.add_argument(
        "--vocab-size", type=positive, metavar="N",
        help=f"sentencepiece pieces at most; few captions give fewer (default: {DEFAULT_VOCAB_SIZE})",
    )  # fmt: skip
    group.add_argument("--encoder-json", type=Path, metavar="FILE", help="encoder.json of GPT-2 BPE")
    group.add_argument("--vocab-bpe", type=Path, metavar="FILE", help="vocab.bpe of GPT-2 BPE")
    group.add_argument("--dict", type=Path, metavar="FILE", help="fairseq's dict.txt for GPT-2 BPE")
    group.add_argument("--vocab-txt", type=Path, metavar="FILE", help="vocab.txt of a BERT, for wordpiece")
    group.add_argument("--cased", action="store_true", help="wordpiece: keep capitals and accents, as cased BERTs do")
    group.add_argument(
        "--tokenizer-from", type=Path, metavar="DATABIN",
        help="take the tokenizer of another data-bin instead; needed where there is no train split",
    )  # fmt: skip


def tokenizer_of(args: argparse.Namespace) -> TokenizerSource:
    """The tokenizer that the options ask for.

    Raises:
        PrepError: options are missing or exclude each other.
    """
    given = [
        flag
        for flags in _TOKENIZER_OPTIONS.values()
        for flag in flags
        if getattr(args, flag.removeprefix("--").replace("-", "_"))
    ]
    if args.tokenizer_from is not None:
        others = [*given, *(["--tokenizer"] if args.tokenizer else [])]
        if others:
            raise PrepError(f"--tokenizer-from brings its own tokenizer: leave out {', '.join(others)}")
        return CopiedTokenizer(args.tokenizer_from)
    _check_options_fit(args.tokenizer or "sentencepiece", given)
    if args.tokenizer == "gpt2-bpe":
        return GivenGpt2(args.encoder_json, args.vocab_bpe, args.dict)
    if args.tokenizer == "wordpiece":
        return GivenWordPiece(args.vocab_txt, args.cased)
    return TrainedSentencePiece(args.vocab_size or DEFAULT_VOCAB_SIZE)


def _check_options_fit(tokenizer: str, given: list[str]) -> None:
    missing = [flag for flag in _TOKENIZER_OPTIONS[tokenizer] if flag not in given and flag not in _OPTIONAL]
    if missing:
        raise PrepError(f"--tokenizer {tokenizer} needs {', '.join(missing)} as well")
    for owner, flags in _TOKENIZER_OPTIONS.items():
        foreign = [flag for flag in flags if flag in given]
        if owner != tokenizer and foreign:
            raise PrepError(
                f"{', '.join(foreign)} need --tokenizer {owner}, not {tokenizer}: change it or leave it out"
            )


def write_options_of(args: argparse.Namespace) -> Options:
    """The options of add_write_options() on a parsed command line.

    Raises:
        PrepError: tokenizer options are missing or exclude each other.
    """
    return Options(
        dest=Path(args.dest).resolve(),
        workers=args.workers,
        overwrite=args.overwrite,
        images=ImageSettings(args.max_pixels),
        captions=CaptionLimits(1, DEFAULT_MAX_CHARS),
        tokenizer=tokenizer_of(args),
    )


def source_options_of(args: argparse.Namespace) -> Options:
    """The options of add_source_options() on a parsed command line.

    Raises:
        PrepError: options are missing or exclude each other.
    """
    if args.image_store == "reference" and (args.max_side or args.quality):
        raise PrepError("--max-side and --quality need --image-store packed: reference leaves images as they are")
    if args.shard_range is not None and args.shard_range[1] > args.shards:
        raise PrepError(f"--shard-range ends at {args.shard_range[1]}, beyond --shards {args.shards}")
    return replace(
        write_options_of(args),
        images=ImageSettings(args.max_pixels, args.max_side, args.quality),
        captions=CaptionLimits(args.min_words, args.max_chars),
        image_store=args.image_store,
        duplicates=args.duplicates,
        exclude=tuple(args.exclude),
        exclude_distance=args.exclude_distance,
        shards=args.shards,
        shard_range=args.shard_range,
        distributor=args.distributor,
        part_images=args.part_images,
    )
