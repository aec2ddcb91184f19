"""Samples of a webdataset archive: the members that follow one another and share a key, and the captions among them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mvlm_plugin.data.databin import canonical_split, is_split_name

from ..image_files import MAX_ENCODED_BYTES, too_many_bytes
from ..records import MAX_CAPTIONS, TOO_MANY_CAPTIONS, BadImage, RejectionLog, Sample
from .img2dataset_failures import list_failed_downloads
from .json_lines import parse_json
from .tar_members import DamagedArchive, Member, TarReader

IMAGE_EXTENSIONS = frozenset(["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm"])
JSON_PREFIX = "json:"
_CAPTION_SOURCES = ("txt", "json:caption", "json:captions", "caption", "text")
_MAX_TEXT = 16 << 20
_COCO_KEYS = ("cocoid", "coco_id")


@dataclass(frozen=True)
class SampleOptions:
    """How samples are read.

    Attributes:
        caption_from: extension of the member, or ``json:FIELD``, that has the captions; None looks for the usual ones.
        split_field: field of the .json that names the split of a sample; None: the archive's split.
        fields: label fields of the .json.
    """

    caption_from: str | None = None
    split_field: str | None = None
    fields: tuple[str, ...] = ()

    def caption_sources(self) -> tuple[str, ...]:
        """Where captions are looked for; the first that has some counts."""
        return (self.caption_from,) if self.caption_from else _CAPTION_SOURCES


class _Unusable(Exception):
    """A sample is dropped: category and reason."""


@dataclass
class _Members:
    """What was read of one sample."""

    key: str
    first: str
    image: Member | None = None
    data: bytes | BadImage = b""
    texts: dict[str, bytes] = field(default_factory=dict)
    problem: _Unusable | None = None

    def position(self) -> str:
        return self.image.name if self.image else self.first

    def add(self, member: Member, extension: str, archive: TarReader, text_extensions: frozenset[str]) -> None:
        """Read a member, if it is needed."""
        if extension in IMAGE_EXTENSIONS:
            if self.image is not None:
                self.problem = _Unusable("ambiguous sample", f"it has two images, {self.image.name} and {member.name}")
                return
            self.image = member
            self.data = too_many_bytes(member.size) if member.size > MAX_ENCODED_BYTES else archive.read()
        elif extension in text_extensions:
            if extension in self.texts:
                self.problem = _Unusable("ambiguous sample", f"it has two members .{extension}")
            elif member.size > _MAX_TEXT:
                reason = f"{member.name} has {member.size:,} bytes, more than {_MAX_TEXT >> 20} MiB"
                self.problem = _Unusable("oversized member", reason)
            else:
                self.texts[extension] = archive.read()


def _attributes(texts: dict[str, bytes]) -> dict[str, Any]:
    """The object of the .json; empty where there is none. A .json may also hold a list, of boxes for instance."""
    if "json" not in texts:
        return {}
    try:
        value = parse_json(texts["json"])
    except ValueError as error:
        raise _Unusable("bad record", f"the .json of the sample: {error}") from error
    return value if isinstance(value, dict) else {}


def _lines(extension: str, texts: dict[str, bytes], attributes: dict[str, Any]) -> list[str]:
    """Captions of a text member: its lines, or all of it where it is also the "caption" of the .json (img2dataset)."""
    try:
        text = texts.get(extension, b"").decode("utf-8").removeprefix("\ufeff").strip()
    except UnicodeDecodeError as error:
        reason = f"the .{extension} of the sample is not UTF-8: {error.reason} at byte {error.start}"
        raise _Unusable("bad record", reason) from error
    if "\n" not in text:
        return [text] if text else []
    whole = attributes.get("caption")
    if isinstance(whole, str) and whole.strip() == text:
        return [text]
    return [line.strip() for line in text.split("\n") if line.strip()]


def _captions(members: _Members, attributes: dict[str, Any], options: SampleOptions) -> tuple[str, ...]:
    for source in options.caption_sources():
        if not source.startswith(JSON_PREFIX):
            found = _lines(source, members.texts, attributes)
        else:
            name = source.removeprefix(JSON_PREFIX)
            value = attributes.get(name)
            found = [value] if isinstance(value, str) else value if isinstance(value, list) else []
            if not all(isinstance(text, str) for text in found):
                raise _Unusable("bad record", f'"{name}" of the .json has an entry that is no text')
        if len(found) > MAX_CAPTIONS:
            raise _Unusable(*TOO_MANY_CAPTIONS)
        if any(text.strip() for text in found):
            return tuple(found)
    wanted = ", ".join(
        source if source.startswith(JSON_PREFIX) else f".{source}" for source in options.caption_sources()
    )
    raise _Unusable("no caption", f"the sample has no caption in {wanted}")


def _is_label(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _fields(attributes: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The label fields that a sample has; null and what is no finite number stand for what it has not."""
    fields = {}
    for name in names:
        value = attributes.get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if not _is_label(value) and not (isinstance(value, list) and all(map(_is_label, value))):
            reason = f'"{name}" of the .json is neither a number, a text, nor a list of these'
            raise _Unusable("bad record", reason)
        fields[name] = value
    return fields


def _split(attributes: dict[str, Any], name: str) -> str:
    split = attributes.get(name)
    if not isinstance(split, str):
        raise _Unusable("no split", f'"{name}" of the .json is missing or no text')
    if not is_split_name(split):
        raise _Unusable(
            "bad split name", f"split name {split[:80]!r}: only letters, digits, _ and - may be used, up to 64"
        )
    return canonical_split(split)


def _sample(members: _Members, split: str, options: SampleOptions) -> Sample:
    """Put a sample together. Raises _Unusable."""
    if members.problem is not None:
        raise members.problem
    if members.image is None:
        raise _Unusable("no image", "the sample has no image")
    attributes = _attributes(members.texts)
    texts = _captions(members, attributes, options)
    if options.split_field:
        split = _split(attributes, options.split_field)
    fields = (_fields(attributes, options.fields),) * len(texts) if options.fields else None
    numbers = (attributes.get(key) for key in _COCO_KEYS)
    ids = tuple(f"coco:{number}" for number in numbers if type(number) is int)[:1]
    name = members.image.name
    return Sample(name, members.data, members.image.offset, split, texts, name, fields, ids)


def _groups(archive: TarReader, path: str, log: RejectionLog, text_extensions: frozenset[str]) -> Iterator[_Members]:
    """The members of each sample. What the archive has besides is logged, and where it is damaged."""
    group: _Members | None = None
    last = ""
    try:
        for member in archive.members():
            last = member.name
            folder, slash, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            if member.odd_kind is not None:
                log.add("not a regular file", f"the member is {member.odd_kind}", path, last)
            elif not stem or not extension:
                log.add("not a sample", "the name of the member is not KEY.EXTENSION", path, last)
            else:
                key = f"{folder}{slash}{stem}"
                if group is None or key != group.key:
                    if group is not None:
                        yield group
                    group = _Members(key, member.name)
                group.add(member, extension.lower(), archive, text_extensions)
    except DamagedArchive as error:
        log.add("damaged archive", f"it cannot be read on {error}", path, last)
        if group is not None:
            reason = "the archive is damaged in or behind this sample, which may not be whole"
            log.add("damaged archive", reason, path, group.position())
        return
    if group is not None:
        yield group
    if archive.warning is not None:
        log.add("damaged archive", archive.warning, path, last)


def read_archive(path: str, split: str, log: RejectionLog, options: SampleOptions) -> Iterator[Sample]:
    """Read the samples of an archive in order, and list the downloads that img2dataset's table says have failed.

    Args:
        path: local path or URL of a tar archive, as it is or compressed with gzip.
        split: split of its samples, where options name no field for it.
        log: takes samples without an image or a caption, links and other members that are no regular files, and the
            place where the archive is damaged; what lies before it is read.
        options: where captions, splits and labels are.

    Raises:
        PrepError: the driver for the URL is missing, or the store refuses.
    """
    list_failed_downloads(path, log)
    sources = options.caption_sources()
    text_extensions = frozenset(["json", *(source for source in sources if not source.startswith(JSON_PREFIX))])
    try:
        archive = TarReader(path)
    except OSError as error:
        log.add("damaged archive", f"it cannot be opened: {error.strerror or error}", path, "")
        return
    with archive:
        for members in _groups(archive, path, log, text_extensions):
            try:
                yield _sample(members, split, options)
            except _Unusable as problem:
                log.add(problem.args[0], problem.args[1], path, members.position())
