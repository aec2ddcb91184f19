"""From encoded bytes to RGB pixels: the one decoder that preparation and training share."""

import io

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats whose Pillow readers are plain decoders. Others (EPS, for one) start programs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
DEFAULT_MAX_PIXELS = 50_000_000


class BadImageError(ValueError):
    """Bytes that are no usable image; the message says why."""


def open_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Open and decode an image in its own colour mode.

    Args:
        data: encoded bytes.
        max_pixels: larger images are refused before a pixel is decoded.

    Raises:
        BadImageError: empty, unknown format, damaged, truncated or too large.
    """
    if not data:
        raise BadImageError("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise BadImageError(f"{width} x {height} pixels are more than the limit of {max_pixels}")
        image.load()
    except BadImageError:
        raise
    except Image.DecompressionBombError as error:
        raise BadImageError(f"too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(f"not an image of these formats: {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's decoders raise nearly every type on hostile bytes
        raise BadImageError(f"cannot be decoded: {type(error).__name__}: {error}") from error
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any colour mode to 8-bit RGB, upright. Transparent pixels become white; 16 bits keep the upper 8.

    Raises:
        BadImageError: the mode or its EXIF data cannot be converted.
    """
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            levels = np.asarray(image).astype(np.int64)
            image = Image.fromarray(np.clip(levels >> 8, 0, 255).astype(np.uint8))
        elif image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # hostile EXIF blocks and palettes raise nearly every type
        raise BadImageError(f"cannot be made RGB: {type(error).__name__}: {error}") from error


def decode_rgb(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Encoded bytes to an upright 8-bit RGB image.

    Raises:
        BadImageError: see open_image.
    """
    return to_rgb(open_image(data, max_pixels))


def random_crop_box(
    width: int, height: int, min_scale: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Box (left, top, right, bottom) of a random resized crop: area min_scale..1, aspect 3/4..4/3 times the image's."""
    area = rng.uniform(min_scale, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_width = min(1.0, np.sqrt(area * aspect)) * width
    box_height = min(1.0, np.sqrt(area / aspect)) * height
    left = rng.uniform(0.0, width - box_width)
    top = rng.uniform(0.0, height - box_height)
    return left, top, left + box_width, top + box_height


def to_pixels(image: Image.Image, size: int, box: tuple[float, float, float, float] | None = None) -> torch.Tensor:
    """Resize (bicubic) a box of an RGB image to size x size.

    Returns:
        Tensor of shape (3, size, size), uint8.
    """
    resized = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    # (H, W, 3) -> (3, H, W)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
