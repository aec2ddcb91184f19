"""Image files that are damaged, lie about themselves, or are merely odd; the same for the same random generator."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "BMP": ("BMP", {}),
}
_ORIENTATION = 0x0112


class BadImageFile(NamedTuple):
    """Bytes that stand where an image should; must: whether they have to be rejected, None where either is right."""

    kind: str
    data: bytes
    must: bool | None


def picture(number: int, mode: str = "RGB") -> Image.Image:
    """A small picture that differs from number to number."""
    image = Image.new("RGB", (36 + number % 7, 28 + number % 5), (number * 37 % 256, number // 256 % 256, 160))
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, 27, number % 23), fill="white", width=2)
    draw.ellipse((5, 9, 20 + number % 6, 22), fill=(90, number * 11 % 256, 30))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def _good(name: str) -> bytes:
    kind, options = _FORMATS[name]
    return encoded(picture(1000 + len(name)), kind, **options)


def flip(random: Random, data: bytes, avoid: bytes = b"") -> bytes:
    """Some bytes changed, at random places; none becomes one of those to avoid."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 20))):
        value = random.randrange(256)
        if value not in avoid:
            changed[random.randrange(len(changed))] = value
    return bytes(changed)


def _flipped(random: Random) -> BadImageFile:
    name = random.choice(list(_FORMATS))
    return BadImageFile(f"{name} with changed bytes", flip(random, _good(name)), None)


def _flipped_head(random: Random) -> BadImageFile:
    name = random.choice(list(_FORMATS))
    data = _good(name)
    return BadImageFile(f"{name} with changed bytes", flip(random, data[:64]) + data[64:], None)


def _truncated(random: Random) -> BadImageFile:
    name = random.choice(list(_FORMATS))
    data = _good(name)
    return BadImageFile(f"{name} cut off", data[: random.randrange(1, len(data))], None)


def _not_an_image(random: Random) -> BadImageFile:
    choices = {
        "empty file": b"",
        "HTML for an image": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>",
        "JSON for an image": b'{"error": "rate limited"}',
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "other file type": random.choice((b"PK\3\4", b"%PDF-1.7\n", b"\x7fELF", b"\x1f\x8b\x08", b"RIFF\0\0\0\0WAVE")),
        "zero bytes": bytes(random.randrange(1, 5000)),
        "random bytes": random.randbytes(500),
        "magic number only": random.choice((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM")),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, choices[kind], True)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, extra: bytes = b"") -> bytes:
    """A PNG with whatever size, compressed pixels, and further chunks."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many zero bytes, compressed by zlib."""
    packer = zlib.compressobj(1)
    block = bytes(1 << 20)
    pieces = [packer.compress(block) for _ in range(size >> 20)]
    return b"".join(pieces) + packer.compress(bytes(size % (1 << 20))) + packer.flush()


def _patched(data: bytes, place: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, *values)
    return bytes(changed)


def _huge_claim(random: Random) -> BadImageFile:
    side = random.choice((50_000, 65_500))
    jpeg = _good("JPEG")
    gif = b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6)
    choices = {
        "PNG claims many pixels": png(side, side, 8, 2, zlib.compress(b"")),
        "GIF claims many pixels": gif + b"," + struct.pack("<HHHH", 0, 0, side, side) + b"\0\x02\x02L\x01\0;",
        "JPEG claims many pixels": _patched(jpeg, jpeg.find(b"\xff\xc0") + 5, ">HH", side, side),
        "BMP claims many pixels": _patched(_good("BMP"), 18, "<ii", side, side),
        "TIFF claims many pixels": _with_tag(_with_tag(_good("TIFF"), 256, 2**31), 257, side),
        "WebP claims many pixels": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff\xff\xff\x3f",
        "PPM claims many pixels": b"P6\n%d %d\n255\n" % (side, side) + bytes(100),
        "no pixels": random.choice((png(0, 0, 8, 2, zlib.compress(b"")), b"P6 0 5 255\n", b"GIF89a" + bytes(30))),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, choices[kind], True)


def _with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of one of its tags."""
    start = struct.unpack_from("<I", tiff, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0], 12):
        if struct.unpack_from("<H", tiff, entry)[0] == tag:
            return _patched(tiff, entry + 2, "<HII", 4, 1, value % 2**32)
    return tiff


def _lying_tiff(random: Random) -> BadImageFile:
    tag = random.choice((256, 257, 258, 259, 262, 273, 277, 278, 279))
    value = random.choice((0, 1, 2, 255, 65_535, 2**31, 2**32 - 1))
    data = _with_tag(_good(random.choice(("TIFF", "LZW TIFF"))), tag, value)
    return BadImageFile("TIFF with a wrong tag", data, None)


@cache
def _bombs() -> tuple[BadImageFile, ...]:
    """Small files that unpack to much more than an image of their size needs."""
    pixels = zlib.compress(bytes(8 * 25))
    text = b"Comment\0\0" + zeros(80 << 20)
    frames = [picture(number, "P") for number in range(3)] * 100
    return (
        BadImageFile("PNG with more pixels than it claims", png(8, 8, 8, 2, zeros(200 << 20)), None),
        BadImageFile("PNG with a bomb of text", png(8, 8, 8, 2, pixels, png_chunk(b"zTXt", text)), None),
        BadImageFile("PNG with a bomb of a profile", png(8, 8, 8, 2, pixels, png_chunk(b"iCCP", text)), None),
        BadImageFile("GIF of many frames", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), False),
        BadImageFile("JPEG of many scans", many_scans(64, 64, 3000), True),
    )


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A grey progressive JPEG whose pixels are gone through again and again, at under 100 bytes each time."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    blocks = -(-width // 8) * -(-height // 8)
    head = segment(0xDB, b"\0" + b"\1" * 64)
    head += segment(0xC2, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
    # Tables of one code, 0: difference 0; and a run of 2 ** 14 blocks or more without coefficients.
    head += segment(0xC4, b"\0\1" + bytes(16)) + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0")
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(-(-blocks // 8))
    runs = bytes(-(-15 * -(-blocks // 2**14) // 8))
    return b"\xff\xd8" + head + first + (segment(0xDA, b"\1\1\0\1\x3f\0") + runs) * scans + b"\xff\xd9"


def _metadata(random: Random) -> BadImageFile:
    """EXIF blocks and colour profiles that are huge, broken or mean nothing."""
    exif = Image.Exif()
    exif[_ORIENTATION] = random.randrange(1, 9)
    exif[0x010E] = "x" * random.choice((1, 1000))
    block = exif.tobytes()
    upside = struct.pack("<HHIHHI", _ORIENTATION, 3, 1, random.choice((0, 9, 65_535)), 0, 0)
    image = picture(random.randrange(1000))
    jpeg = encoded(image, "JPEG")
    kind = random.randrange(7)
    if kind == 0:
        big = b"\xff\xe1\xff\xffExif\0\0" + random.randbytes(65_527)
        return BadImageFile("EXIF of megabytes", jpeg[:2] + big * 40 + jpeg[2:], None)
    if kind == 1:
        extra = png_chunk(b"eXIf", b"II*\0" + random.randbytes(1 << 20))
        return BadImageFile("EXIF of megabytes", png(8, 8, 8, 2, zlib.compress(bytes(8 * 25)), extra), None)
    if kind == 2:
        data = encoded(image, "JPEG", exif=b"Exif\0\0" + flip(random, block[6:]))
        return BadImageFile("EXIF with changed bytes", data, None)
    if kind == 3:
        return BadImageFile("EXIF cut off", encoded(image, "JPEG", exif=block[: random.randrange(8, len(block))]), None)
    if kind == 4:
        data = encoded(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + upside)
        return BadImageFile("impossible EXIF orientation", data, False)
    data = encoded(image, ("JPEG", "PNG")[kind - 5], icc_profile=random.randbytes(3000))
    return BadImageFile("garbage as colour profile", data, False)


@cache
def _very_wide() -> bytes:
    return png(70_000, 2, 8, 2, zeros(2 * 210_001))


def _odd_but_good(random: Random) -> BadImageFile:
    """What is unusual and has to be stored."""
    image = picture(random.randrange(1000))
    deep = np.arange(36 * 28, dtype=np.uint16).reshape(28, 36) * 60
    choices: dict[str, Callable[[], bytes]] = {
        "16 bits": lambda: encoded(Image.fromarray(deep), random.choice(("PNG", "TIFF"))),
        "32 bits": lambda: encoded(Image.fromarray(deep.astype(np.int32) * 900), "TIFF"),
        "floating point": lambda: encoded(image.convert("F"), "TIFF"),
        "CMYK": lambda: encoded(image.convert("CMYK"), random.choice(("JPEG", "TIFF"))),
        "palette with transparency": lambda: encoded(
            image.convert("P"), "PNG", transparency=random.choice((random.randrange(256), random.randbytes(9)))
        ),
        "grey with transparency": lambda: encoded(image.convert("LA"), "PNG"),
        "one bit": lambda: encoded(image.convert("1"), random.choice(("PNG", "TIFF", "BMP"))),
        "one pixel": lambda: encoded(image.crop((0, 0, 1, 1)), random.choice(("PNG", "JPEG", "GIF", "WEBP"))),
        "70,000 pixels wide": _very_wide,
        "bytes behind the image": lambda: encoded(image, random.choice(("PNG", "JPEG", "GIF"))) + random.randbytes(900),
    }
    kind = random.choice(list(choices))
    # What is too wide for a JPEG cannot be stored as one.
    return BadImageFile(kind, choices[kind](), None if choices[kind] is _very_wide else False)


_MAKERS: tuple[Callable[[Random], BadImageFile], ...] = (
    _flipped, _flipped, _flipped_head, _truncated, _truncated, _not_an_image, _huge_claim, _lying_tiff, _metadata,
    _odd_but_good,
)  # fmt: skip
# Of so many images one is a bomb.
_BOMBS = 25


def bad_image(random: Random, number: int) -> BadImageFile:
    """The image of this number in a series."""
    if number % _BOMBS == _BOMBS - 1:
        return random.choice(_bombs())
    return _MAKERS[number % len(_MAKERS)](random)
