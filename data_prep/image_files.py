"""Finds a source's images inside their folder and loads them, whatever lies there."""

import hashlib
import os
import stat
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mvlm_plugin.data.image_index import MAX_IMAGE_BYTES
from mvlm_plugin.data.images import BadImageError, open_image, to_rgb

from .records import BadImage, LoadedImage, PrepError

_MISSING = "missing image"
_OUTSIDE = "outside images folder"
_UNREADABLE = "unreadable image"


class ImageFile(NamedTuple):
    """A regular file inside the images folder; size in bytes, mtime in nanoseconds."""

    path: str
    size: int
    mtime: int


class ImageFolder:
    """The folder that a source's image paths are relative to.

    Args:
        folder: ``--images``. For the path ``images/x.jpg`` it may be the folder ``images`` itself or its parent.

    Raises:
        PrepError: it is not a folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise PrepError(f"{folder} is not a folder; give --images the folder that holds the images")
        self._name = os.path.basename(os.path.abspath(folder))
        self._root = os.path.realpath(folder)

    def find(self, image: str) -> ImageFile | BadImage:
        """The file of an image, symbolic links followed; it is never outside the folder."""
        path = PurePosixPath(image)
        if path.is_absolute() or ".." in path.parts:
            return BadImage(_OUTSIDE, "the path is absolute or has '..': it may lead outside the images folder")
        try:
            real = os.path.realpath(self._candidate(path), strict=True)
            if os.path.commonpath([real, self._root]) != self._root:
                return BadImage(_OUTSIDE, "a symbolic link leads outside the images folder")
            status = os.stat(real)
        except (FileNotFoundError, NotADirectoryError):
            return BadImage(_MISSING, "there is no such file in the images folder")
        except OSError as error:
            return BadImage(_UNREADABLE, f"cannot be read: {error.strerror}")
        except ValueError as error:
            return BadImage(_MISSING, f"not a possible file name: {error}")
        if not stat.S_ISREG(status.st_mode):
            return BadImage("not a regular file", "it is a folder, a pipe or a device")
        if status.st_size > MAX_IMAGE_BYTES:
            return BadImage("bad image", f"{status.st_size} bytes are more than an image may have")
        return ImageFile(real, status.st_size, status.st_mtime_ns)

    def _candidate(self, path: PurePosixPath) -> str:
        direct = os.path.join(self._root, path)
        if len(path.parts) > 1 and path.parts[0] == self._name and not os.path.lexists(direct):
            return os.path.join(self._root, *path.parts[1:])
        return direct


def files_digest(images: Iterable[str], found: Iterable[ImageFile | BadImage]) -> str:
    """SHA-256 over name, size and modification time of every image: differs when a file was changed."""
    digest = hashlib.sha256()
    for image, file in zip(images, found, strict=True):
        state = file.reason if isinstance(file, BadImage) else f"{file.size} {file.mtime}"
        digest.update(f"{image}\0{state}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def inspect_image(data: bytes, max_pixels: int) -> LoadedImage | BadImage:
    """Decode an image completely to learn its upright size and colour mode; the pixels are dropped."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = open_image(data, max_pixels)
            mode = image.mode
            width, height = to_rgb(image).size
    except BadImageError as error:
        return BadImage("bad image", str(error))
    return LoadedImage(data, width, height, mode, zlib.crc32(data))


def load_image_file(file: ImageFile, max_pixels: int) -> LoadedImage | BadImage:
    """Read and decode one image file."""
    try:
        descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as stream:
            data = stream.read()
    except OSError as error:
        return BadImage(_UNREADABLE, f"cannot be read: {error.strerror}")
    return inspect_image(data, max_pixels)
