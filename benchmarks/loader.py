#!/usr/bin/env python
"""Images a second of one process: from the encoded file to the (3, S, S) pixels that a model is given.

Every contender reads the same generated photos (640 x 480, about 150 kB each), cuts the same random boxes and resizes
them bicubically:

    plain Pillow      a file an image: open, convert, crop, resize, to tensor
    webdataset        the same operations on images that the webdataset package reads from a tar
    ours, Pillow      a packed data-bin: read, check the checksum, decode|random_resized_crop, simplejpeg switched off
    ours              the same, JPEGs decoded by simplejpeg (pip install 'mvlm-plugin[fast-jpeg]')
    ours, data set    all that training does: tokens, masks, image, collated in batches of 32

    python benchmarks/loader.py --images 200 --seconds 60 --json loader.json
"""

import argparse
import functools
import io
import json
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from statistics import median

import numpy as np
import torch
from fairseq.data import Dictionary
from PIL import Image

from mvlm_plugin.data import databin
from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.image_index import RECORD, ImageIndex, ImageIndexWriter
from mvlm_plugin.data.line_file import LineFileWriter
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.token_file import TokenFileWriter
from mvlm_plugin.data.transforms import Pipeline
from mvlm_plugin.data.transforms.geometry import random_box

WIDTH, HEIGHT, QUALITY = 640, 480, 92
SCALE, RATIO = (0.5, 1.0), (3 / 4, 4 / 3)
BASE = "plain Pillow"
BATCH = 32
SPLIT = "train"
WORDS = 1000
# A contender: gives one result after the other; a batch counts as many images as it has.
Contender = Callable[[], Iterator[torch.Tensor]]


def photo(seed: int) -> bytes:
    """A JPEG with a photo's mixture of smooth areas, edges and fine texture, the same for the same seed."""
    rng = np.random.default_rng(seed)
    pixels = np.full((HEIGHT, WIDTH, 3), 120.0, dtype=np.float32)
    for columns, contrast in ((4, 70), (12, 35), (40, 18), (120, 9)):
        coarse = rng.normal(size=(columns * HEIGHT // WIDTH, columns, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(coarse[..., channel]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            pixels[..., channel] += contrast * np.asarray(layer)
    pixels += 11.5 * rng.normal(size=(HEIGHT, WIDTH, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def write_photos(folder: Path, photos: list[bytes]) -> None:
    """As loose files, as a tar and as a packed data-bin with a caption an image."""
    (folder / "loose").mkdir()
    with tarfile.open(folder / "photos.tar", "w") as tar:
        for number, data in enumerate(photos):
            (folder / "loose" / f"{number}.jpg").write_bytes(data)
            member = tarfile.TarInfo(f"{number:06d}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    index = ImageIndexWriter(databin.images_path(folder, SPLIT))
    (folder / f"{SPLIT}.images.bin").write_bytes(b"".join(photos))
    index.add_container(f"{SPLIT}.images.bin", sum(len(data) for data in photos), 0)
    records = np.zeros(len(photos), dtype=RECORD)
    records["length"] = [len(data) for data in photos]
    records["offset"][1:] = np.cumsum(records["length"])[:-1]
    records["width"], records["height"] = WIDTH, HEIGHT
    records["crc32"] = [zlib.crc32(data) for data in photos]
    index.extend(records)
    index.close()
    captions = TokenFileWriter(databin.text_prefix(folder, SPLIT), np.uint16)
    rng = np.random.default_rng(0)
    for _ in photos:
        words = [*rng.integers(4, WORDS, size=rng.integers(8, 20)), 2]
        captions.extend(np.array(words), np.array([len(words)]))
    captions.close()
    names = LineFileWriter(databin.names_prefix(folder, SPLIT))
    names.extend(f"{number}.jpg" for number in range(len(photos)))
    names.close()
    np.save(databin.pairs_path(folder, SPLIT), np.arange(len(photos)))
    np.save(databin.hashes_path(folder, SPLIT), np.zeros(len(photos), dtype=databin.HASH))
    manifest = {"format_version": databin.FORMAT_VERSION, "image_store": "packed", "splits": {SPLIT: {}}}
    (folder / databin.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def crop_and_resize(image: Image.Image, size: int, rng: np.random.Generator) -> torch.Tensor:
    """The operations of the contenders that are not ours: (3, size, size) uint8."""
    left, top, width, height = random_box(image.width, image.height, SCALE, RATIO, rng)
    image = image.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def plain_pillow(folder: Path, images: int, size: int) -> Iterator[torch.Tensor]:
    for number in range(images):
        with Image.open(folder / "loose" / f"{number}.jpg") as image:
            yield crop_and_resize(image.convert("RGB"), size, np.random.default_rng([1, 1, number]))


def from_webdataset(folder: Path, images: int, size: int) -> Iterator[torch.Tensor]:
    import webdataset

    data = webdataset.WebDataset(str(folder / "photos.tar"), shardshuffle=False).decode("pil").to_tuple("jpg")
    for number, (image,) in enumerate(data):
        yield crop_and_resize(image, size, np.random.default_rng([1, 1, number]))


def ours(index: ImageIndex, pipeline: Pipeline) -> Iterator[torch.Tensor]:
    for number in range(len(index)):
        yield pipeline(index.read(number), np.random.default_rng([1, 1, number]))


def whole_data_set(data: JointMaskedDataset) -> Iterator[torch.Tensor]:
    for start in range(0, len(data), BATCH):
        numbers = range(start, min(start + BATCH, len(data)))
        yield data.collater([data[number] for number in numbers])["net_input"]["images"]


def contenders(folder: Path, images: int, size: int) -> dict[str, Contender]:
    """Everything that is installed, by name."""
    dictionary = Dictionary()
    for number in range(WORDS):
        dictionary.add_symbol(f"w{number}")
    operations = f"random_resized_crop({size}, scale={SCALE}, ratio={RATIO})"
    index = ImageIndex(databin.images_path(folder, SPLIT))
    options = PairOptions(size, 32, 0.6, max(1, size // 7), 0.3, train_transform=f"decode|{operations}")
    data = JointMaskedDataset(PairStore(folder, SPLIT), dictionary, options, seed=1, train=True)
    found: dict[str, Contender] = {BASE: functools.partial(plain_pillow, folder, images, size)}
    if util.find_spec("webdataset"):
        found["webdataset"] = functools.partial(from_webdataset, folder, images, size)
    found["ours, Pillow"] = functools.partial(ours, index, Pipeline(f"decode(fast=False)|{operations}", size))
    if util.find_spec("simplejpeg"):
        found["ours"] = functools.partial(ours, index, Pipeline(f"decode|{operations}", size))
    found["ours, data set"] = functools.partial(whole_data_set, data)
    return found


def check_equal(found: dict[str, Contender]) -> None:
    """Stop where the contenders' first pixels differ by more than one level: they would not do the same work."""
    first = {name: next(contender()).reshape(-1, *next(contender()).shape[-3:])[0] for name, contender in found.items()}
    for name, pixels in first.items():
        difference = int((pixels.int() - first[BASE].int()).abs().max())
        if difference > 1:
            sys.exit(f"{name} gives other pixels than {BASE}: they differ by {difference} levels")


def measure(found: dict[str, Contender], seconds: float) -> dict[str, list[float]]:
    """Images a second of every contender, a pass over all images each round, in turn, until the time is up."""
    rates: dict[str, list[float]] = {name: [] for name in found}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not rates[BASE]:
        for name, contender in found.items():
            start = time.perf_counter()
            images = sum(pixels.numel() // (3 * pixels.shape[-1] ** 2) for pixels in contender())
            rates[name].append(images / (time.perf_counter() - start))
    return rates


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200, help="photos to generate (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long to measure in all (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=224, help="pixels a side that come out (default: 224)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        photos = [photo(number) for number in range(args.images)]
        write_photos(Path(folder), photos)
        found = contenders(Path(folder), args.images, args.image_size)
        check_equal(found)
        measure(found, 0)  # warms caches up
        rates = measure(found, args.seconds)
    result = {
        "images": args.images,
        "mean_bytes": sum(map(len, photos)) / len(photos),
        "image_size": args.image_size,
        "versions": {
            name: metadata.version(name)
            for name in ("torch", "pillow", "simplejpeg", "webdataset")
            if util.find_spec({"pillow": "PIL"}.get(name, name))
        },
        "rounds": len(rates[BASE]),
        "images_per_second": {name: median(values) for name, values in rates.items()},
        "ratio": {
            name: median(value / base for value, base in zip(values, rates[BASE], strict=True))
            for name, values in rates.items()
        },
        "all_rounds": rates,
    }
    print(f"{args.images} JPEGs of {WIDTH} x {HEIGHT}, {result['mean_bytes'] / 1e3:.0f} kB each; ", end="")
    print(f"median of {result['rounds']} rounds, one process, one thread")
    print(f"{'':18}{'images/s':>10}{'x ' + BASE:>18}")
    for name in rates:
        print(f"{name:18}{result['images_per_second'][name]:10.0f}{result['ratio'][name]:18.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
