"""Hashes of images, and finding equal and similar ones."""

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from databin_helpers import encoded, scenery
from PIL import Image, ImageEnhance
from prep_helpers import SHARED_DATA

from data_prep import similarity
from data_prep.image_check import ImageSettings, check_image
from data_prep.records import LoadedImage
from data_prep.similarity import (
    DEFAULT_DISTANCE,
    MAX_DISTANCE,
    NO_PERCEPTUAL,
    HashIndex,
    content_hash,
    match_images,
    perceptual_hash,
)
from mvlm_plugin.data.databin import HASH

PHOTOS = SHARED_DATA / "flickr8k" / "images"
CHANGES = ("half", "jpeg", "bright", "all")


def bits(a: int, b: int) -> int:
    return (a ^ b).bit_count()


def changed(image: Image.Image, change: str) -> Image.Image:
    if change in {"half", "all"}:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    if change in {"bright", "all"}:
        image = ImageEnhance.Brightness(image).enhance(1.1)
    if change in {"jpeg", "all"}:
        image = Image.open(io.BytesIO(encoded(image, "JPEG", quality=50))).convert("RGB")
    return image


def random_hashes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hashes = np.zeros(count, dtype=HASH)
    hashes["content"] = rng.integers(1, 2**63, (count, 2))
    hashes["perceptual"] = rng.integers(1, 2**63, count, dtype=np.uint64) * np.uint64(2)
    return hashes


def flipped(look: int, count: int, rng: np.random.Generator) -> int:
    for bit in rng.choice(64, count, replace=False).tolist():
        look ^= 1 << bit
    return look


def test_content_hash_is_the_first_half_of_sha256() -> None:
    # FIPS 180-2, appendix B.1: SHA-256 of "abc".
    assert content_hash(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223"


@pytest.mark.parametrize("size", [(20, 16), (96, 80), (191, 191)])
def test_hash_of_a_small_image_is_imagehash_phash(size: tuple[int, int]) -> None:
    image = scenery(1, size)
    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image))


@pytest.mark.parametrize("size", [(640, 480), (4000, 100), (97, 2000)])
def test_hash_of_a_large_image_is_close_to_imagehash_phash(size: tuple[int, int]) -> None:
    for seed in range(5):
        image = scenery(seed, size)
        assert bits(perceptual_hash(image), int(str(imagehash.phash(image)), 16)) <= 2


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_stay_near_and_others_far(change: str) -> None:
    hashes = [perceptual_hash(scenery(seed)) for seed in range(20)]
    for seed, own in enumerate(hashes):
        assert bits(own, perceptual_hash(changed(scenery(seed), change))) <= DEFAULT_DISTANCE
    assert min(bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) > MAX_DISTANCE


def test_flat_pictures_have_no_perceptual_hash() -> None:
    rng = np.random.default_rng(0)
    ramp = np.arange(0, 240, 3, dtype=np.uint8)
    for image in (
        Image.new("RGB", (64, 48), "black"),
        Image.new("RGB", (640, 480), (200, 30, 90)),
        Image.new("RGB", (1, 1), "red"),
        Image.fromarray(rng.integers(100, 104, (60, 60, 3), dtype=np.uint8)),
        Image.fromarray(np.tile(ramp, (50, 1))).convert("RGB"),
        Image.fromarray(np.tile(ramp[:, None], (1, 50))).convert("RGB"),
    ):
        assert perceptual_hash(image) == NO_PERCEPTUAL


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no Flickr8k images in the shared data")
def test_real_photos() -> None:
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.iterdir())[:300]]
    hashes = np.array([perceptual_hash(photo) for photo in photos], dtype=np.uint64)
    for change in CHANGES:
        for photo, own in zip(photos[:50], hashes.tolist(), strict=False):
            assert bits(own, perceptual_hash(changed(photo, change))) <= DEFAULT_DISTANCE
    apart = np.bitwise_count(hashes[:, None] ^ hashes)[np.triu_indices(300, 1)]
    assert 30 < apart.mean() < 33
    assert apart.min() > MAX_DISTANCE


@pytest.mark.parametrize("distance", range(MAX_DISTANCE + 1))
def test_near_finds_what_comparing_all_finds(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_CANDIDATES_AT_ONCE", 50)
    monkeypatch.setattr(similarity, "_QUERIES_AT_ONCE", 40)
    rng = np.random.default_rng(distance)
    bases = random_hashes(100, 1)["perceptual"]
    entries = np.array([flipped(int(bases[i % 100]), i // 100, rng) for i in range(500)], dtype=np.uint64)
    looks = np.array([flipped(int(rng.choice(entries)), i % 14, rng) for i in range(300)], dtype=np.uint64)
    apart = np.bitwise_count(looks[:, None] ^ entries)
    hashes = np.zeros(500, dtype=HASH)
    hashes["perceptual"] = entries
    found = HashIndex.build(hashes).near(looks, distance)
    hit = found.entry >= 0
    assert (hit == (apart.min(axis=1) <= distance)).all()
    assert 0 < hit.sum() < 300
    assert (found.distance[hit] == apart.min(axis=1)[hit]).all()
    assert (apart[hit, found.entry[hit]] == apart.min(axis=1)[hit]).all()


def test_no_perceptual_hash_matches_nothing() -> None:
    hashes = random_hashes(3, 0)
    hashes["perceptual"][1] = NO_PERCEPTUAL
    index = HashIndex.build(hashes)
    assert index.near(np.array([NO_PERCEPTUAL], dtype=np.uint64), MAX_DISTANCE).entry.tolist() == [-1]
    hashes["perceptual"] = NO_PERCEPTUAL
    assert HashIndex.build(hashes).near(np.array([1], dtype=np.uint64), MAX_DISTANCE).entry.tolist() == [-1]


def test_exact_compares_all_bits_and_finds_the_first() -> None:
    hashes = np.zeros(5, dtype=HASH)
    hashes["content"] = [(7, 2), (9, 9), (7, 1), (7, 2), (9, 9)]
    asked = np.array([(7, 1), (7, 2), (7, 3), (9, 9), (8, 1)], dtype=np.uint64)
    assert HashIndex.build(hashes).exact(asked).tolist() == [2, 0, -1, 1, -1]


def test_a_saved_index_finds_the_same(tmp_path: Path) -> None:
    hashes = random_hashes(40, 2)
    HashIndex.build(hashes).save(tmp_path)
    index = HashIndex.open(tmp_path)
    assert index.exact(hashes["content"]).tolist() == list(range(40))
    assert index.near(hashes["perceptual"], 0).entry.tolist() == list(range(40))


@pytest.mark.parametrize("pieces", [(1 << 20, 1 << 20), (7, 5)])
def test_match_images_prefers_the_same_bytes(pieces: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_ENTRIES_AT_ONCE", pieces[0])
    monkeypatch.setattr(similarity, "_QUERIES_AT_ONCE", pieces[1])
    rng = np.random.default_rng(0)
    entries, queries = random_hashes(30, 3), random_hashes(12, 4)
    entries[1]["perceptual"] = flipped(int(queries[0]["perceptual"]), 2, rng)
    entries[15]["perceptual"] = flipped(int(queries[0]["perceptual"]), 5, rng)
    entries[29] = entries[25]
    queries[2]["perceptual"] = flipped(int(entries[20]["perceptual"]), 4, rng)
    queries[5] = entries[25]
    entries[3]["perceptual"] = entries[25]["perceptual"]
    queries[8]["perceptual"] = flipped(int(entries[9]["perceptual"]), 6, rng)
    entries[28]["perceptual"] = flipped(int(queries[8]["perceptual"]), 2, rng)
    queries[11]["perceptual"] = flipped(int(entries[11]["perceptual"]), 7, rng)
    moved: list[float] = []
    found = match_images(queries, entries, 6, moved.append)
    assert {i: (int(found.entry[i]), int(found.distance[i])) for i in range(12) if found.entry[i] >= 0} == {
        0: (1, 2),
        2: (20, 4),
        5: (25, -1),
        8: (28, 2),
    }
    assert sum(moved) == pytest.approx(12)
    only_bytes = match_images(queries, entries, -1)
    assert [i for i in range(12) if only_bytes.entry[i] >= 0] == [5]


@pytest.mark.parametrize("side", [64, 100, 128, 480, 1500])
def test_encoded_copies_of_any_size_stay_near(side: int) -> None:
    """JPEGs are hashed from a smaller decoding: it must keep what the hash looks at."""
    settings = ImageSettings(50_000_000)
    for seed in range(10):
        picture = scenery(seed, (side, side * 3 // 4))
        copy = picture.resize((side * 2 // 3, side // 2), Image.Resampling.LANCZOS)
        found = [check_image(encoded(image, "JPEG"), settings) for image in (picture, copy)]
        hashes = [image.perceptual for image in found if isinstance(image, LoadedImage)]
        assert bits(*hashes) <= DEFAULT_DISTANCE
