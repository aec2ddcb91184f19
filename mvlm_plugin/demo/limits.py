"""What the page takes from its users: sizes of texts, photos and requests."""

from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.images import decode_rgb
from ..interface.model import MASKS
from .masking import MASK

MAX_UPLOAD_BYTES = 16 * 2**20
# Of uploaded photos and drawings. 40 megapixels take 160 MB while they are decoded.
MAX_PIXELS = 40_000_000
MAX_CHARACTERS = 300
MAX_MASKS = 6
# Pixels of a photo's longer side, whether of the split or uploaded: models look at less.
PHOTO_SIDE = 640
# Of photos that are shown large, whatever size they have.
SHOWN_SIDE = 512


class InputError(ValueError):
    """A user's input that cannot be used; the message says what to do, and is for the page."""


def read_photo(path: str | None) -> Image.Image:
    """An uploaded file as an upright RGB photo of PHOTO_SIDE pixels at most.

    Raises:
        InputError: no file, or one that is too large.
        BadImageError: it is no usable image.
    """
    if path is None:
        raise InputError("There is no photo yet: pick or upload one.")
    if Path(path).stat().st_size > MAX_UPLOAD_BYTES:
        raise InputError(f"The file is larger than {MAX_UPLOAD_BYTES >> 20} MB: choose a smaller one.")
    return shrink(decode_rgb(Path(path).read_bytes(), MAX_PIXELS))


def shrink(photo: Image.Image, side: int = PHOTO_SIDE) -> Image.Image:
    """A copy whose longer side has at most ``side`` pixels, and whose shorter one has at least one."""
    scale = min(1.0, side / max(photo.size))
    return photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))


def enlarge(photo: Image.Image) -> Image.Image:
    """A copy whose longer side has SHOWN_SIDE pixels."""
    scale = SHOWN_SIDE / max(photo.size)
    return photo.resize((max(1, round(photo.width * scale)), max(1, round(photo.height * scale))))


def check_words(words: str | None, what: str) -> str:
    """A text of a user, without white space around it. Raises InputError where it is empty or too long."""
    text = " ".join((words or "").split())
    if not text:
        raise InputError(f"There is no {what} yet: write one.")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"The {what} has {len(text)} characters; {MAX_CHARACTERS} are the most.")
    return text


def check_masked(words: str | None) -> str:
    """A caption with masks. Raises InputError where there is no mask, or too many."""
    text = check_words(words, "masked caption")
    masks = len(MASKS.findall(text))
    if not 1 <= masks <= MAX_MASKS:
        raise InputError(f"The masked caption has {masks} times {MASK}: write it in place of 1 to {MAX_MASKS} words.")
    return text


_Message = MutableMapping[str, Any]


class RequestLimit:
    """ASGI middleware: a request whose body is larger than two uploads is refused while it comes in.

    The page's package limits uploads of files; drawings and calls reach it in other ways.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], most: int = 2 * MAX_UPLOAD_BYTES) -> None:
        self.app, self.most = app, most

    async def __call__(
        self, scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        """Pass a request on, counting its bytes."""
        taken = 0

        async def counted() -> _Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            # A client that hangs up is what every handler knows.
            return {"type": "http.disconnect"} if taken > self.most else message

        await self.app(scope, counted if scope["type"] == "http" else receive, send)
