"""Finds a source's images inside their folder, and reads them, whatever lies there."""

import os
import stat
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from .files import file_state, is_remote, open_binary
from .records import BadImage, PrepError

# Encoded bytes of one image; what claims to be more is no photo.
MAX_ENCODED_BYTES = 2**28
_MISSING = BadImage("missing image", "there is no such file in the images folder")
_OUTSIDE = "outside images folder"
_UNREADABLE = "unreadable image"


class ImageFile(NamedTuple):
    """An image of a source: path or URL, size in bytes, and modification time in nanoseconds (-1 and 0: not known)."""

    path: str
    size: int
    mtime_ns: int


class ImagePlace(Protocol):
    """Where a source's images lie."""

    root: str

    def find(self, image: str) -> ImageFile | BadImage:
        """The file of an image; it is never outside the place."""


def _leads_outside(path: PurePosixPath) -> BadImage | None:
    if path.is_absolute() or ".." in path.parts:
        return BadImage(_OUTSIDE, "the path is absolute or has '..': it may lead outside the images folder")
    return None


class ImageFolder:
    """The folder that a source's image paths are relative to.

    Args:
        folder: ``--images``. For the path ``images/x.jpg`` it may be the folder ``images`` itself or its parent.

    Raises:
        PrepError: it is not a folder.
    """

    def __init__(self, folder: str) -> None:
        if not os.path.isdir(folder):
            raise PrepError(f"{folder} is not a folder; give --images the folder that holds the images")
        self._name = os.path.basename(os.path.abspath(folder))
        self.root = os.path.realpath(folder)

    def find(self, image: str) -> ImageFile | BadImage:
        """The file of an image, symbolic links followed; it is never outside the folder."""
        path = PurePosixPath(image)
        outside = _leads_outside(path)
        if outside is not None:
            return outside
        try:
            real = os.path.realpath(self._candidate(path), strict=True)
            if os.path.commonpath([real, self.root]) != self.root:
                return BadImage(_OUTSIDE, "a symbolic link leads outside the images folder")
            status = os.stat(real)
        except (FileNotFoundError, NotADirectoryError):
            return _MISSING
        except OSError as error:
            return BadImage(_UNREADABLE, f"cannot be read: {error.strerror}")
        except ValueError as error:
            return BadImage(_MISSING.category, f"not a possible file name: {error}")
        if not stat.S_ISREG(status.st_mode):
            return BadImage("not a regular file", "it is a folder, a pipe or a device")
        if status.st_size > MAX_ENCODED_BYTES:
            return too_many_bytes(status.st_size)
        return ImageFile(real, status.st_size, status.st_mtime_ns)

    def _candidate(self, path: PurePosixPath) -> str:
        direct = os.path.join(self.root, path)
        if len(path.parts) > 1 and path.parts[0] == self._name and not os.path.lexists(direct):
            return os.path.join(self.root, *path.parts[1:])
        return direct


class RemoteFolder:
    """A folder of an object store; whether an image is there shows when it is read."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")

    def find(self, image: str) -> ImageFile | BadImage:
        """The URL of an image."""
        path = PurePosixPath(image)
        return _leads_outside(path) or ImageFile(f"{self.root}/{path}", -1, 0)


def image_place(images: str) -> ImagePlace:
    """The folder or URL of ``--images``. Raises PrepError where it is no folder."""
    return RemoteFolder(images) if is_remote(images) else ImageFolder(images)


def too_many_bytes(size: int) -> BadImage:
    """Rejection of an image whose encoded bytes are too many."""
    return BadImage("bad image", f"{size} bytes are more than the {MAX_ENCODED_BYTES} that an image may have")


def read_image_file(path: str) -> bytes | BadImage:
    """The bytes of a local image file or an URL."""
    try:
        if is_remote(path):
            size = file_state(path).size
            if size > MAX_ENCODED_BYTES:
                return too_many_bytes(size)
            with open_binary(path) as stream:
                return stream.read(MAX_ENCODED_BYTES)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            return stream.read(MAX_ENCODED_BYTES)
    except FileNotFoundError:
        return _MISSING
    except (OSError, PrepError) as error:
        return BadImage(_UNREADABLE, f"cannot be read: {getattr(error, 'strerror', None) or error}")
