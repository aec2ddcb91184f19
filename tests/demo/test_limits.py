"""Hostile inputs: refused with a word to the user, and before they cost memory."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mvlm_plugin.data.images import BadImageError
from mvlm_plugin.demo import limits
from mvlm_plugin.demo.limits import InputError, RequestLimit, check_masked, check_words, enlarge, read_photo, shrink


def test_a_photo_is_read_upright_and_shrunk(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGBA", (2000, 500), (10, 20, 30, 255)).save(path)
    photo = read_photo(str(path))
    assert (photo.mode, photo.size) == ("RGB", (limits.PHOTO_SIDE, limits.PHOTO_SIDE // 4))
    assert photo.getpixel((0, 0)) == (10, 20, 30)


def test_sizes_keep_a_pixel_at_least() -> None:
    assert shrink(Image.new("RGB", (4000, 2))).size == (limits.PHOTO_SIDE, 1)
    assert shrink(Image.new("RGB", (20, 10))).size == (20, 10)
    assert enlarge(Image.new("RGB", (20, 10))).size == (limits.SHOWN_SIDE, limits.SHOWN_SIDE // 2)


def test_what_is_no_photo_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.png"
    with pytest.raises(InputError, match="no photo yet"):
        read_photo(None)
    path.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>")
    with pytest.raises(BadImageError, match="not an image"):
        read_photo(str(path))
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")  # 81 megapixels in a few kilobytes
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BadImageError, match="more than the limit"):
        read_photo(str(path))
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 100)
    with pytest.raises(InputError, match="choose a smaller one"):
        read_photo(str(path))


def test_texts_are_checked() -> None:
    assert check_words("  a \n dog ", "caption") == "a dog"
    for text in (None, "", " \n"):
        with pytest.raises(InputError, match="no caption yet"):
            check_words(text, "caption")
    with pytest.raises(InputError, match="301 characters; 300"):
        check_words("a" * 301, "caption")


def test_masks_are_counted() -> None:
    assert check_masked(" a [MASK]  dog") == "a [MASK] dog"
    for text in ("a dog", "[MASK] " * (limits.MAX_MASKS + 1)):
        with pytest.raises(InputError, match=r"write it in place of 1 to 6 words"):
            check_masked(text)


def _served(parts: list[bytes], most: int) -> list[str]:
    """Types of the messages that an application behind RequestLimit receives."""
    waiting = [{"type": "http.request", "body": part} for part in parts]
    received: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in parts:
            received.append((await receive())["type"])

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None: ...

    asyncio.run(RequestLimit(application, most)({"type": "http"}, receive, send))
    return received


def test_a_request_that_grows_too_large_is_cut_off() -> None:
    assert _served([b"12345"] * 3, most=15) == ["http.request"] * 3
    assert _served([b"12345"] * 3, most=14) == ["http.request"] * 2 + ["http.disconnect"]
