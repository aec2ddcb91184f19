"""Readers of encoded images, as a fuzz target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.folders import Target

_MOST_PIXELS = 1_000_000


def image(folder: Path) -> Target:
    """The check of preparation, keeping the bytes or encoding them anew; Pillow's decoder and the fast one."""
    from data_prep.image_check import ImageSettings, check_image
    from mvlm_plugin.data.images import BadImageError, decode_image

    def check(**settings: Any) -> Callable[[bytes], object]:
        return lambda data: check_image(data, ImageSettings(_MOST_PIXELS, **settings))

    def decode(fast: bool) -> Callable[[bytes], object]:
        return lambda data: decode_image(data, _MOST_PIXELS, fast).array

    forms = [check(), check(max_side=64), check(quality=80), decode(True), decode(False)]
    return (lambda form, data: forms[form](data)), (BadImageError,), len(forms), []
