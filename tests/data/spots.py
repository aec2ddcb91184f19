"""Pictures and a pipeline that tests of image pipelines share."""

import io

import numpy as np
from PIL import Image

FULL = "decode|random_resized_crop({size}, scale=0.5)|flip|randaugment(2, 7)"


def encoded(seed: int = 0, size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    """Large coloured spots, different for every seed."""
    spots = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(spots).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()
