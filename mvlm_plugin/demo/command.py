"""The command line of mvlm-demo."""

import argparse
import logging
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import mvlm_plugin  # noqa: F401  (registers what the checkpoint names)

from ..data.databin import DataBinError, shard_folders
from ..data.store import PairStore
from ..data.tokenizers import load_tokenizer
from ..encoders.extras import needing


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvlm-demo",
        description="Try a checkpoint in the browser: search photos by words and captions by photo, hide part of a "
        "photo or of a caption and see it filled in with the right and with a wrong partner, and see where the model "
        "looks for each word. The page is served on this machine only, and loads nothing from elsewhere.",
        epilog="example: mvlm-demo --path checkpoints/checkpoint_last.pt --data data-bin/mine --subset test",
    )
    parser.add_argument("--path", required=True, metavar="CKPT", help="checkpoint, or a folder of mvlm-export")
    parser.add_argument("--data", required=True, metavar="DATABIN", help="data-bin whose photos are searched")
    parser.add_argument("--subset", default="test", metavar="SPLIT", help="its split (default: %(default)s)")
    parser.add_argument(
        "--max-images", type=int, metavar="N", help="take the first N photos of the split (default: all)"
    )
    parser.add_argument("--port", type=int, default=7860, metavar="P", help="of the page (default: %(default)s)")
    parser.add_argument("--device", help="torch device (default: cuda where there is one, else cpu)")
    return parser


def _check_port(port: int) -> None:
    """Before minutes of encoding: raises ValueError where nothing can be served at the port."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"--port {port}: {error}; choose another") from error


def _serve(args: argparse.Namespace, temporary: str) -> None:
    """Load, encode the photos and serve until interrupted; files of the page lie in ``temporary``."""
    # Both are read when the package is imported. It would report its use to its makers.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": temporary}
    with needing("demo", "mvlm-demo needs"):
        import gradio  # noqa: F401  (before the photos are encoded, which takes long)
    from ..interface import load
    from .actions import Actions
    from .gallery import build_gallery
    from .page import build_page, serve

    folder = shard_folders(Path(args.data))[0]
    store = PairStore(folder, args.subset)
    # A checkpoint may have been trained where its tokenizer no longer lies; an exported folder has its own.
    model = load(args.path, data=None if Path(args.path).is_dir() else str(folder), device=args.device)
    gallery = build_gallery(model, store, load_tokenizer(folder), args.max_images)
    title = f"{args.path}: {len(gallery.images):,} photos with {len(gallery.captions):,} captions of split {store.name}"
    title += f"; {gallery.bad_images:,} bad images left out" if gallery.bad_images else ""
    page = build_page(Actions(model, gallery), title)
    print(f"{title}\nopen http://127.0.0.1:{args.port} (end with Ctrl-C)", flush=True)
    serve(page, args.port)


def main(argv: list[str] | None = None) -> int:
    """Entry point of mvlm-demo. Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.getLogger().setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, with its files deleted
    try:
        if args.max_images is not None and args.max_images < 1:
            raise ValueError("--max-images must be at least 1")
        _check_port(args.port)
        with tempfile.TemporaryDirectory(
            prefix="mvlm-demo-"
        ) as temporary:  # photos and uploads do not outlive the page
            _serve(args, temporary)
    except (OSError, ValueError, RuntimeError, ImportError, DataBinError) as error:
        print(f"mvlm-demo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
