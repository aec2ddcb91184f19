"""Decodes every image once: its upright size, its hashes, and, where asked for, smaller bytes to store."""

import io
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from mvlm_plugin.data.images import BadImageError, open_image, preview_image, to_rgb

from .records import BadImage, LoadedImage
from .similarity import content_hash, perceptual_hash

DEFAULT_QUALITY = 90
# Every scan of a JPEG goes through all its pixels. Photos have about ten; a small file of very many may take hours.
_MAX_SCANS = 100
_SCAN = b"\xff\xda"
# Bytes that fill up, or markers without a segment: no program writes them before the first scan.
_NO_SEGMENT = {0x00, 0x01, *range(0xD0, 0xDA), 0xFF}
# Frame headers of baseline and extended sequential JPEGs. They have one scan if it holds all components.
_SEQUENTIAL = (0xC0, 0xC1)


@dataclass(frozen=True)
class ImageSettings:
    """How images are checked and stored.

    Attributes:
        max_pixels: larger images are rejected.
        max_side: images whose longer side has more pixels are made smaller and stored as JPEG; None = never.
        quality: JPEG quality; where it is given, every image is stored as JPEG.
    """

    max_pixels: int
    max_side: int | None = None
    quality: int | None = None

    def request(self) -> dict[str, Any]:
        """The settings that decide the outcome."""
        return asdict(self)


def check_image(data: bytes, settings: ImageSettings) -> LoadedImage | BadImage:
    """Decode an image; the pixels are dropped."""
    if _may_have_many_scans(data) and data.count(_SCAN) > _MAX_SCANS:
        return BadImage("bad image", f"{data.count(_SCAN)} scans are more than the {_MAX_SCANS} that a JPEG may have")
    try:
        if settings.max_side is None and settings.quality is None:
            preview, width, height, mode = preview_image(data, settings.max_pixels)
            stored = data
        else:
            image = open_image(data, settings.max_pixels)
            mode = image.mode
            preview = to_rgb(image)
            stored, (width, height) = _stored_form(data, preview, settings)
    except BadImageError as error:
        return BadImage("bad image", str(error))
    content, perceptual = content_hash(data), perceptual_hash(preview)
    return LoadedImage(stored, width, height, mode, zlib.crc32(stored), content, perceptual)


def _may_have_many_scans(data: bytes) -> bool:
    """Whether it takes a look at all bytes to know how many scans a JPEG has."""
    if not data.startswith(b"\xff\xd8"):
        return False
    position, components = 2, 0
    while len(data) > position + 9 and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _NO_SEGMENT:
            return True
        if marker in _SEQUENTIAL:
            components = data[position + 9]
        elif marker == _SCAN[1]:
            return components == 0 or data[position + 4] != components
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


def _stored_form(data: bytes, image: Image.Image, settings: ImageSettings) -> tuple[bytes, tuple[int, int]]:
    """Bytes to store and their size in pixels: as they are, or encoded anew.

    Raises:
        BadImageError: a side is longer than a JPEG can have.
    """
    too_large = settings.max_side is not None and max(image.size) > settings.max_side
    if not too_large and settings.quality is None:
        return data, image.size
    if too_large:
        assert settings.max_side is not None
        scale = settings.max_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    try:
        image.save(encoded, "JPEG", quality=settings.quality or DEFAULT_QUALITY)
    except OSError as error:
        raise BadImageError(f"{image.width} x {image.height} pixels cannot be stored as JPEG: {error}") from error
    return encoded.getvalue(), image.size
