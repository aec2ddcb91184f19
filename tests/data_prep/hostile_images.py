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


def _huge_claim(random: Random) -> BadImageFile:
    side = random.choice((50_000, 65_535))
    gif = b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6)
    gif += b"," + struct.pack("<HHHH", 0, 0, 65_535, 65_535) + b"\0\x02\x02L\x01\0;"
    jpeg = bytearray(_good("JPEG"))
    frame = jpeg.find(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, frame + 5, 65_500, 65_500)
    bmp = bytearray(_good("BMP"))
    struct.pack_into("<ii", bmp, 18, side, side)
    tiff = encoded(picture(3), "TIFF")
    for tag, value in ((256, 2**31), (257, side)):
        tiff = _with_tag(tiff, tag, value)
    webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff\xff\xff\xff\xff\x3f"
    choices = {
        "PNG claims many pixels": png(side, side, 8, 2, zlib.compress(b"")),
        "GIF claims many pixels": gif,
        "JPEG claims many pixels": bytes(jpeg),
        "BMP claims many pixels": bytes(bmp),
        "TIFF claims many pixels": tiff,
        "WebP claims many pixels": webp,
        "PPM claims many pixels": b"P6\n%d %d\n255\n" % (side, side) + bytes(100),
        "no pixels": random.choice((png(0, 0, 8, 2, zlib.compress(b"")), b"P6 0 5 255\n", b"GIF89a" + bytes(30))),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, choices[kind], True)


def _with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of one of its tags."""
    changed = bytearray(tiff)
    start = struct.unpack_from("<I", changed, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", changed, start)[0], 12):
        if struct.unpack_from("<H", changed, entry)[0] == tag:
            struct.pack_into("<HII", changed, entry + 2, 4, 1, value % 2**32)
    return bytes(changed)


def _lying_tiff(random: Random) -> BadImageFile:
    tag = random.choice((256, 257, 258, 259, 262, 273, 277, 278, 279, 338))
    value = random.choice((0, 1, 2, 255, 65_535, 2**31, 2**32 - 1))
    data = _with_tag(_good(random.choice(("TIFF", "LZW TIFF"))), tag, value)
    return BadImageFile("TIFF with a wrong tag", data, None)


def _bomb(random: Random) -> BadImageFile:
    """Small files that unpack to much more than an image of their size needs."""
    image = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    text = b"Comment\0\0" + zeros(80 << 20)
    frames = [picture(number, "P") for number in range(3)] * 100
    choices = {
        "PNG with too many pixels": (png(8, 8, 8, 2, zeros(200 << 20)), None),
        "PNG with a bomb of text": (png(8, 8, 8, 2, image, png_chunk(b"zTXt", text)), None),
        "PNG with a bomb of a profile": (png(8, 8, 8, 2, image, png_chunk(b"iCCP", text)), None),
        "GIF of many frames": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), False),
        "JPEG of many scans": (many_scans(64, 64, 3000), True),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, *choices[kind])


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
    turned = struct.pack("<HHHHI", random.choice((0, 9, 65_535)), 3, 1, 0, 0)
    image = picture(random.randrange(1000))
    jpeg = encoded(image, "JPEG")
    big = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + random.randbytes(65_527)
    pixels = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    choices = {
        "EXIF of several megabytes": (jpeg[:2] + big * 40 + jpeg[2:], None),
        "PNG with much EXIF": (png(8, 8, 8, 2, pixels, png_chunk(b"eXIf", b"II*\0" + random.randbytes(5 << 20))), None),
        "EXIF with changed bytes": (encoded(image, "JPEG", exif=b"Exif\0\0" + flip(random, block[6:])), None),
        "EXIF cut off": (encoded(image, "JPEG", exif=block[: random.randrange(8, len(block))]), None),
        "impossible EXIF orientation": (
            encoded(image, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01" + turned[2:8] + turned[:2] + bytes(6)),
            False,
        ),
        "garbage as colour profile": (encoded(image, "JPEG", icc_profile=random.randbytes(3000)), False),
        "PNG with a garbage profile": (encoded(image, "PNG", icc_profile=random.randbytes(3000)), False),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, *choices[kind])


def _odd_but_good(random: Random) -> BadImageFile:
    """What is unusual and has to be stored."""
    image = picture(random.randrange(1000))
    deep = np.arange(36 * 28, dtype=np.uint16).reshape(28, 36) * 60
    choices = {
        "16 bits": encoded(Image.fromarray(deep), "PNG"),
        "16-bit TIFF": encoded(Image.fromarray(deep), "TIFF"),
        "32-bit TIFF": encoded(Image.fromarray(deep.astype(np.int32) * 900), "TIFF"),
        "floating point": encoded(image.convert("F"), "TIFF"),
        "CMYK": encoded(image.convert("CMYK"), "JPEG"),
        "CMYK TIFF": encoded(image.convert("CMYK"), "TIFF"),
        "palette with a transparent colour": encoded(image.convert("P"), "PNG", transparency=random.randrange(256)),
        "palette with levels of transparency": encoded(image.convert("P"), "PNG", transparency=random.randbytes(9)),
        "grey with transparency": encoded(image.convert("LA"), "PNG"),
        "one bit": encoded(image.convert("1"), random.choice(("PNG", "TIFF", "BMP"))),
        "one pixel": encoded(image.crop((0, 0, 1, 1)), random.choice(("PNG", "JPEG", "GIF", "WEBP"))),
        "very wide": png(70_000, 2, 8, 2, zeros(2 * 210_001)),
        "garbage behind the image": encoded(image, random.choice(("PNG", "JPEG", "GIF"))) + random.randbytes(900),
    }
    kind = random.choice(list(choices))
    return BadImageFile(kind, choices[kind], False)


_MAKERS: tuple[Callable[[Random], BadImageFile], ...] = (
    _flipped, _flipped, _flipped_head, _truncated, _truncated, _not_an_image, _huge_claim, _lying_tiff, _metadata,
    _odd_but_good,
)  # fmt: skip
# Of so many images one is a bomb: they take long to make.
_BOMBS = 25


def bad_image(random: Random, number: int) -> BadImageFile:
    """The image of this number in a series."""
    make = _bomb if number % _BOMBS == _BOMBS - 1 else _MAKERS[number % len(_MAKERS)]
    return make(random)
