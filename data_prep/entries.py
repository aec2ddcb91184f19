"""The entries of one part: images of a plan or samples of an archive, in the same form."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .captions import CaptionLimits, Rejection, accept_caption
from .exclusion import Exclusions
from .image_files import ImageFile, read_image_file
from .plan import Text, planned_images
from .records import BadImage, RejectionLog, Sample
from .sources.base import ArchiveSource
from .sources.image_ids import all_ids_of_name


class Place(NamedTuple):
    """Where an image's bytes lie in the source: container file and offset in bytes."""

    container: ImageFile
    offset: int


class Entry(NamedTuple):
    """An image, its clean captions, and where its bytes lie.

    source, position: where the image is named; plan_id: 0 where there is no plan.
    """

    name: str
    split: str
    data: bytes | BadImage
    place: Place | None
    texts: list[Text]
    source: str
    position: int | str
    plan_id: int = 0


class PlanEntries:
    """Parts of a plan: so many images each.

    Args:
        folder: of the plan.
        part_images: images of a part.
    """

    def __init__(self, folder: Path, part_images: int) -> None:
        self._folder = folder
        self._part_images = part_images

    def read(self, part: int, log: RejectionLog) -> Iterator[Entry]:
        """Entries of a part in order."""
        start = part * self._part_images
        for image in planned_images(self._folder, start, start + self._part_images, log):
            place = Place(image.file, 0)
            data = read_image_file(image.file.path)
            yield Entry(image.name, image.split, data, place, image.texts, image.source, image.position, image.id)


class ArchiveEntries:
    """Parts of an archive source: one archive each.

    Args:
        source: where the archives are.
        limits: which captions are kept.
        exclusions: training images that are kept out.
    """

    def __init__(self, source: ArchiveSource, limits: CaptionLimits, exclusions: Exclusions | None) -> None:
        self._source = source
        self._limits = limits
        self._exclusions = exclusions

    def read(self, part: int, log: RejectionLog) -> Iterator[Entry]:
        """Entries of a part in order."""
        split, path = self._source.archives[part]
        container = _container(path) if self._source.can_reference else None
        for sample in self._source.read(path, split, log):
            hit = self._excluded_by(sample)
            if hit is not None:
                log.count_excluded(hit, "ids")
                for text in sample.texts:
                    log.add("excluded", f"the image is named by {hit}", path, sample.position, sample.name, text)
                continue
            texts = list(self._clean_texts(path, sample, log))
            if texts:
                known = container is not None and sample.offset is not None
                place = Place(container, sample.offset) if known else None  # type: ignore[arg-type]
                yield Entry(sample.name, sample.split, sample.data, place, texts, path, sample.position)

    def _excluded_by(self, sample: Sample) -> str | None:
        if self._exclusions is None or sample.split != "train":
            return None
        return self._exclusions.by_ids([*sample.ids, *all_ids_of_name(sample.name)])

    def _clean_texts(self, path: str, sample: Sample, log: RejectionLog) -> Iterator[Text]:
        for number, raw in enumerate(sample.texts):
            text = accept_caption(raw, self._limits)
            if isinstance(text, Rejection):
                log.add(text.category, text.reason, path, sample.position, sample.name, raw)
            else:
                yield Text(text, path, sample.position, None if sample.fields is None else sample.fields[number])


Entries = PlanEntries | ArchiveEntries


def _container(path: str) -> ImageFile | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return ImageFile(os.path.realpath(path), status.st_size, status.st_mtime_ns)
