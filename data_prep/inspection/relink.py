"""``mvlm-prep relink``: a data-bin that refers to images finds them again after they were moved or copied."""

import argparse
import json
import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import MANIFEST, images_path, read_manifest
from mvlm_plugin.data.image_index import ImageIndex, ImageIndexWriter, ImageReadError

from ..files import sha256_of
from ..options import add_workers_option
from ..parallel import ordered_map, progress_bar
from ..records import PrepError
from ..tools import Tool


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("databin", type=Path, metavar="DATABIN", help="folder prepared with --image-store reference")
    parser.add_argument(
        "--images", type=Path, metavar="DIR",
        help="folder where the images or tars lie now, in the same layout (default: where they were)",
    )  # fmt: skip
    add_workers_option(parser)


def _run(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.databin)
    if "shards" in manifest:
        raise PrepError(f"{args.databin} has shards: relink each, such as {args.databin / manifest['shards'][0]}")
    if manifest.get("image_store") != "reference":
        raise PrepError(f"{args.databin} holds its images itself: there is nothing to relink")
    root = Path(os.path.realpath(args.images or manifest["image_root"]))
    if not root.is_dir():
        raise PrepError(f"{root} is not a folder; give --images the folder where the images lie now")
    indexes = {split: _relinked(args.databin, split, manifest, root, args.workers) for split in manifest["splits"]}
    for split, path in indexes.items():
        name = images_path(args.databin, split).name
        manifest["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256_of(str(path))}
        os.replace(path, args.databin / name)
    manifest["image_root"] = str(root)
    partial_manifest = args.databin / f"{MANIFEST}.partial"
    partial_manifest.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(partial_manifest, args.databin / MANIFEST)
    print(f"{args.databin}: all images found in {root}, with the bytes that they had")
    return 0


def _problem(position: int, index: ImageIndex) -> str | None:
    try:
        index.read(position)
    except ImageReadError as error:
        return str(error)
    return None


def _relinked(databin: Path, split: str, manifest: dict[str, Any], root: Path, workers: int) -> Path:
    """Write the split's index anew, for images in root, and check every image. Returns a file beside the index.

    Raises:
        PrepError: an image is missing or has other bytes.
    """
    old = ImageIndex(images_path(databin, split), Path(manifest["image_root"]), checked=0)
    path = databin / f"{split}.images.partial"
    try:
        writer = ImageIndexWriter(path)
        for number in range(old.containers):
            name = old.container(number).name
            status = os.stat(root / name)
            writer.add_container(name, status.st_size, status.st_mtime_ns)
        writer.extend(old.records)
        writer.close()
        new = ImageIndex(path, root)
        problems = ordered_map(partial(_problem, index=new), range(len(new)), workers)
        with closing(problems), progress_bar(len(new), f"check {split}", "image") as bar:  # type: ignore[type-var]
            for problem in problems:
                if problem is not None:
                    raise PrepError(f"{problem}: give --images the folder with the same images, or prepare again")
                bar.update()
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


TOOL = Tool(
    "relink", "Point a data-bin at images that were moved or copied, after checking every one of them.",
    "mvlm-prep relink data/cc3m --images /new/place/cc3m", _add_options, _run,
)  # fmt: skip
