import io

import numpy as np
import pytest
import torch
from PIL import Image

from mvlm_plugin.data.images import BadImageError
from mvlm_plugin.data.transforms import Pipeline

WIDTHS = (7, 7, 8)  # 22 pixels in three columns
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def striped() -> bytes:
    image = Image.new("RGB", (22, 10))
    left = 0
    for width, colour in zip(WIDTHS, COLOURS, strict=True):
        image.paste(colour, (left, 0, left + width, 10))
        left += width
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_columns_are_cut_before_they_are_resized() -> None:
    pixels = Pipeline("decode|resize_exact({size})", 16).columns(striped(), 3, np.random.default_rng(0))
    assert pixels.shape == (3, 3, 16, 16)
    assert pixels.is_contiguous()
    for column, colour in zip(pixels, COLOURS, strict=True):
        assert column.flatten(1).T.unique(dim=0).tolist() == [list(colour)]


def test_one_column_is_the_image() -> None:
    pipeline = Pipeline("decode|random_resized_crop({size}, scale=0.3)", 16)
    whole = pipeline(striped(), np.random.default_rng(5))
    assert torch.equal(whole, pipeline.columns(striped(), 1, np.random.default_rng(5))[0])


def test_more_columns_than_pixels_are_a_bad_image() -> None:
    with pytest.raises(BadImageError, match="22 pixels a row cannot be cut into 23 columns"):
        Pipeline("decode|resize_exact({size})", 16).columns(striped(), 23, np.random.default_rng(0))
