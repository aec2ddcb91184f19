"""Groups captions by image, in order of first appearance."""

from pathlib import PurePosixPath

from ..records import Caption, RejectionLog, SourceImage


class ImageGrouper:
    """Collects captions so that each image appears once, with all its captions.

    Args:
        log: takes captions whose image is already in another split.
    """

    def __init__(self, log: RejectionLog) -> None:
        self._log = log
        self._images: dict[PurePosixPath, SourceImage] = {}

    def add(self, image: str, split: str, caption: Caption) -> None:
        """Add a caption. An image belongs to the split in which it appears first."""
        record = self._images.setdefault(PurePosixPath(image), SourceImage(image, split, []))
        if record.split == split:
            record.captions.append(caption)
            return
        reason = f"the image is already in split {record.split!r}, not {split!r}"
        self._log.add("conflicting split", reason, caption.source, caption.position, image, caption.text)

    def images(self) -> list[SourceImage]:
        """Every image, in order of first appearance."""
        return list(self._images.values())
