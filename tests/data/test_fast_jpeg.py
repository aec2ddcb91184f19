"""simplejpeg against Pillow: the same pixels, and the same verdict about every file."""

import io
import random
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.data import images
from mvlm_plugin.data.images import DEFAULT_MAX_PIXELS, BadImageError, decode_image

pytest.importorskip("simplejpeg", reason="needs the extra fast-jpeg")


def picture(width: int, height: int) -> Image.Image:
    """Coloured blocks and a little noise, so that chroma upsampling and high frequencies count."""
    rng = np.random.default_rng(width * 1000 + height)
    blocks = rng.integers(0, 256, (height // 5 + 1, width // 5 + 1, 3))
    pixels = np.kron(blocks, np.ones((5, 5, 1)))[:height, :width] + rng.normal(scale=8, size=(height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def jpeg(size: tuple[int, int], mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture(*size).convert(mode).save(buffer, "JPEG", **{"quality": 85, **options})
    return buffer.getvalue()


SIZES = [(64, 48), (37, 53), (1, 1), (17, 9), (8, 131)]
KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "progressive 4:4:4": {"progressive": True, "subsampling": 0},
    "optimised": {"optimize": True},
    "coarse": {"quality": 5},
    "fine": {"quality": 100},
    "restart markers": {"restart_marker_blocks": 2},
    "stored as RGB": {"keep_rgb": True},
    "upright by EXIF": {"exif": orientation(1)},
    "grey": {"mode": "L"},
    "grey, progressive": {"mode": "L", "progressive": True},
}
LEFT_TO_PILLOW: dict[str, dict[str, Any]] = {
    "CMYK": {"mode": "CMYK"},
    "turned by EXIF": {"exif": orientation(6)},
    "mirrored by EXIF": {"exif": orientation(2)},
}


def is_fast(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    return images._decode_jpeg(data, max_pixels) is not None


def verdict(data: bytes, fast: bool) -> np.ndarray | None:
    """Pixels, or None where the file is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_image(data, fast=fast).array.astype(np.int16)
        except BadImageError:
            return None


def assert_same_verdict(data: bytes) -> bool:
    """Both decoders take the file with the same pixels within one level, or both refuse it. Whether it is taken."""
    fast, slow = verdict(data, fast=True), verdict(data, fast=False)
    assert (fast is None) == (slow is None)
    if fast is None or slow is None:
        return False
    assert fast.shape == slow.shape
    assert np.abs(fast - slow).max() <= 1
    return True


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_both_decoders_give_the_same_pixels(kind: str, size: tuple[int, int]) -> None:
    data = jpeg(size, **KINDS[kind])
    assert is_fast(data)
    assert assert_same_verdict(data)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", LEFT_TO_PILLOW)
def test_what_needs_more_than_decoding_is_left_to_pillow(kind: str, size: tuple[int, int]) -> None:
    data = jpeg(size, **LEFT_TO_PILLOW[kind])
    assert not is_fast(data)
    assert assert_same_verdict(data)


def test_the_pillow_decoder_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg((64, 48))
    calls = []
    monkeypatch.setattr(images, "_decode_jpeg", lambda *arguments: calls.append(arguments))
    decode_image(data, fast=False)
    assert calls == []
    decode_image(data)  # nothing came of the fast one: Pillow decodes
    assert len(calls) == 1


def test_without_simplejpeg_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg((64, 48))
    monkeypatch.setattr(images, "_simplejpeg", lambda: None)
    assert not is_fast(data)
    assert decode_image(data).array.shape == (48, 64, 3)


def test_every_truncation_gets_the_same_verdict() -> None:
    for options in ({}, {"progressive": True}, {"mode": "L"}):
        data = jpeg((64, 48), **options)
        ends = {*range(0, len(data), 41), *range(len(data) - 12, len(data))}
        taken = [assert_same_verdict(data[:end]) for end in sorted(ends)]
        assert not all(taken)
    assert assert_same_verdict(data)


def test_damaged_files_get_the_same_verdict() -> None:
    whole = [jpeg((40, 30), **options) for options in (*KINDS.values(), *LEFT_TO_PILLOW.values())]
    draw = random.Random(5)
    outcomes = set()
    for _ in range(1500):
        data = bytearray(draw.choice(whole))
        at = draw.randrange(len(data))
        if draw.random() < 0.6:
            data[at] = draw.randrange(256)
        elif draw.random() < 0.5:
            del data[at : at + draw.randrange(1, 20)]
        else:
            data[at:at] = draw.randbytes(draw.randrange(1, 9))
        outcomes.add((assert_same_verdict(bytes(data)), is_fast(bytes(data))))
    assert outcomes == {(True, True), (True, False), (False, False)}


def test_bytes_after_the_image_do_not_matter() -> None:
    assert assert_same_verdict(jpeg((64, 48)) + b"spam")


def test_images_above_the_limit_are_refused_before_they_are_decoded() -> None:
    data = jpeg((30, 20))
    assert is_fast(data, max_pixels=600)
    assert not is_fast(data, max_pixels=599)
    with pytest.raises(BadImageError, match="30 x 20 pixels are more than the limit of 599"):
        decode_image(data[:-40], max_pixels=599)  # cut short: decoding it would fail in another way


def test_a_header_that_the_decoders_read_differently_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg((64, 48))
    decoder = images._simplejpeg()
    assert decoder is not None
    monkeypatch.setattr(decoder, "decode_jpeg_header", lambda data: (48_000, 64_000, "YCbCr", "420"))
    assert not is_fast(data)
