"""Options that every source has in common, and how their values are read."""

import argparse
from pathlib import Path

from mvlm_plugin.data.images import DEFAULT_MAX_PIXELS

from .parallel import available_cores
from .prepare import Options
from .records import PrepError
from .tokenizer_training import DEFAULT_VOCAB_SIZE, CopiedTokenizer, GivenGpt2, TokenizerSource, TrainedSentencePiece

DEFAULT_CONTAINER_BYTES = 4 * 2**30
# Pillow itself refuses images that are larger.
_PILLOW_MAX_PIXELS = 178_956_970


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


def _max_pixels(text: str) -> int:
    return _whole_number(text, 1, _PILLOW_MAX_PIXELS)


def add_workers_option(parser: argparse.ArgumentParser) -> None:
    """Add --workers."""
    parser.add_argument(
        "--workers", type=positive, default=available_cores(), metavar="N",
        help="processes; the result does not depend on it (default: all cores)",
    )  # fmt: skip


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of writing and of the tokenizer."""
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="data-bin folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a data-bin that --dest already holds")
    add_workers_option(parser)
    parser.add_argument(
        "--max-pixels", type=_max_pixels, default=DEFAULT_MAX_PIXELS, metavar="N",
        help=f"reject images of more than N pixels (default: {DEFAULT_MAX_PIXELS})",
    )  # fmt: skip
    parser.add_argument(
        "--container-bytes", type=positive, default=DEFAULT_CONTAINER_BYTES, metavar="N",
        help=f"begin a new image container at N bytes (default: {DEFAULT_CONTAINER_BYTES}, 4 GiB)",
    )  # fmt: skip
    group = parser.add_argument_group("tokenizer")
    group.add_argument(
        "--tokenizer", choices=("sentencepiece", "gpt2-bpe"),
        help="sentencepiece: trained on the train captions (default); gpt2-bpe: from the three files below",
    )  # fmt: skip
    group.add_argument(
        "--vocab-size", type=positive, metavar="N",
        help=f"sentencepiece pieces at most; few captions give fewer (default: {DEFAULT_VOCAB_SIZE})",
    )  # fmt: skip
    group.add_argument("--encoder-json", type=Path, metavar="FILE", help="encoder.json of GPT-2 BPE")
    group.add_argument("--vocab-bpe", type=Path, metavar="FILE", help="vocab.bpe of GPT-2 BPE")
    group.add_argument("--dict", type=Path, metavar="FILE", help="fairseq's dict.txt for GPT-2 BPE")
    group.add_argument(
        "--tokenizer-from", type=Path, metavar="DATABIN",
        help="take the tokenizer of another data-bin instead; needed where there is no train split",
    )  # fmt: skip


def tokenizer_of(args: argparse.Namespace) -> TokenizerSource:
    """The tokenizer that the options ask for.

    Raises:
        PrepError: options are missing or exclude each other.
    """
    gpt2_files = {"--encoder-json": args.encoder_json, "--vocab-bpe": args.vocab_bpe, "--dict": args.dict}
    given = [name for name, path in gpt2_files.items() if path is not None]
    if args.tokenizer_from is not None:
        others = [*given, *(["--tokenizer"] if args.tokenizer else []), *(["--vocab-size"] if args.vocab_size else [])]
        if others:
            raise PrepError(f"--tokenizer-from brings its own tokenizer: leave out {', '.join(others)}")
        return CopiedTokenizer(args.tokenizer_from)
    if args.tokenizer == "gpt2-bpe":
        missing = [name for name in gpt2_files if name not in given]
        if missing:
            raise PrepError(f"--tokenizer gpt2-bpe needs {', '.join(missing)} as well")
        if args.vocab_size:
            raise PrepError("--vocab-size is for sentencepiece; gpt2-bpe has the size of its --dict: leave it out")
        return GivenGpt2(args.encoder_json, args.vocab_bpe, args.dict)
    if given:
        raise PrepError(f"{', '.join(given)} need --tokenizer gpt2-bpe")
    return TrainedSentencePiece(args.vocab_size or DEFAULT_VOCAB_SIZE)


def options_of(args: argparse.Namespace) -> Options:
    """The common options of a parsed command line.

    Raises:
        PrepError: tokenizer options are missing or exclude each other.
    """
    return Options(
        dest=Path(args.dest).resolve(),
        workers=args.workers,
        overwrite=args.overwrite,
        max_pixels=args.max_pixels,
        container_bytes=args.container_bytes,
        tokenizer=tokenizer_of(args),
    )
