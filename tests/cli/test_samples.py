"""What training reads is what the source files hold: pixels and captions, through containers and workers."""

import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.tokenizers import load_tokenizer
from tests.cli.commands import ROOT, command, run

SHARED = Path(os.environ.get("MVLM_SHARED_DATA", ROOT.parent / "shared" / "data"))
SIZE = 32


def write_generated_source(folder: Path) -> tuple[Path, Path]:
    """Images folder and captions file of 30 noisy pictures, each with one to three captions, not in order."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(30):
        pixels = rng.integers(0, 60, (20 + number, 40, 3)) + rng.integers(0, 190, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{number:02}.png")
        lines += [f"images/{number:02}.png\tpicture {number} told way {way}\n" for way in range(1 + number % 3)]
    rng.shuffle(lines)
    (folder / "captions.tsv").write_text("".join(lines))
    return folder, folder / "captions.tsv"


def write_photo_source(folder: Path) -> tuple[Path, Path]:
    """Images folder and captions file of the first 400 captions of real photos."""
    photos = SHARED / "flickr8k"
    if not photos.is_dir():
        pytest.skip(f"no real photos: {photos} is absent (set MVLM_SHARED_DATA to the folder that holds flickr8k)")
    folder.mkdir()
    lines = (photos / "captions.tsv").read_text(encoding="utf-8").splitlines(keepends=True)[:400]
    (folder / "captions.tsv").write_text("".join(lines), encoding="utf-8")
    return photos, folder / "captions.tsv"


def expected_pairs(folder: Path, captions: Path) -> dict[str, list[np.ndarray]]:
    """Caption (case-folded) -> resized pixels of its picture, read from the source files alone."""
    pairs: dict[str, list[np.ndarray]] = defaultdict(list)
    for line in captions.read_text(encoding="utf-8").splitlines():
        image, caption = line.split("\t")
        picture = Image.open(folder / image).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pairs[" ".join(caption.lower().split())].append(np.asarray(picture))
    return pairs


@pytest.mark.parametrize("write_source", [write_generated_source, write_photo_source])
@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_pairs_of_the_source(tmp_path: Path, workers: int, write_source: object) -> None:
    folder, captions = write_source(tmp_path / "source")  # type: ignore[operator]
    expected = expected_pairs(folder, captions)
    total = sum(len(pictures) for pictures in expected.values())
    arguments = ["--captions", captions, "--images", folder, "--dest", tmp_path / "data-bin"]
    run(command("mvlm-prep", "tsv", *arguments, "--part-images", 4, "--workers", 2))
    store = PairStore(tmp_path / "data-bin", "train")
    assert store.images.containers > 2
    assert len(store) == total
    tokenizer = load_tokenizer(tmp_path / "data-bin")
    tokenizer.dictionary.add_symbol("<mask>")
    dataset = JointMaskedDataset(store, tokenizer.dictionary, PairOptions(SIZE, 60, 0.5, 16, 0.3), seed=1, train=True)
    loader = torch.utils.data.DataLoader(dataset, batch_size=7, collate_fn=dataset.collater, num_workers=workers)
    seen = 0
    for batch in loader:
        inputs = batch["net_input"]
        for tokens, pixels in zip(inputs["tokens"].tolist(), inputs["images"], strict=True):
            caption = tokenizer.decode(tokens)
            pictures = [torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in expected[caption]]
            assert any(torch.equal(pixels, picture) for picture in pictures), caption
            seen += 1
    assert seen == total
    shutil.rmtree(tmp_path / "data-bin")
