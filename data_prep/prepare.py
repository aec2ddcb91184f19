"""Prepares a source: plan, parts, merge, publish. What is done stays beside the destination until all is done."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mvlm_plugin.data.databin import DataBinError

from .captions import CaptionLimits
from .destination import is_prepared, private_path, publish, publish_folder
from .distribution import run_parts
from .encoding import no_train_split
from .entries import ArchiveEntries, Entries, PlanEntries
from .exclusion import Exclusions, exclusion_request
from .files import base_name, file_state, is_remote, sha256_of
from .image_check import ImageSettings
from .image_files import image_place
from .merge import ExtraFiles, merge_parts
from .parallel import WorkerDied
from .part import PartJob
from .plan import build_plan, parts_of_split
from .records import PrepError
from .sources.base import ArchiveSource, Source, TableSource
from .tokenizer_training import TokenizerSource
from .work import TRAIN, Job, WorkFolder

PART_IMAGES = 1000
# So many parts a shard make shards of about the same size.
_PARTS_OF_SHARD = 8
# More would be more image containers than are handy.
_MOST_PARTS = 1000


@dataclass(frozen=True)
class Options:
    """What every source has in common.

    Attributes:
        dest: folder to write.
        workers: processes.
        overwrite: whether dest may be replaced.
        images: how images are checked and stored.
        captions: which captions are kept.
        tokenizer: where the tokenizer comes from.
        image_store: "packed" or "reference".
        duplicates: what becomes of images with the same bytes, "keep", "merge" or "drop".
        exclude: evaluation sets whose images are kept out of training.
        exclude_distance: see Exclusions.
        shards: number of data-bins that the training split is divided into.
        shard_range: first shard and the one after the last that this run makes; None makes all and merges them.
        distributor: "local" or "ray".
        part_images: images of a unit of work; None chooses by the number of images.
    """

    dest: Path
    workers: int
    overwrite: bool
    images: ImageSettings
    captions: CaptionLimits
    tokenizer: TokenizerSource
    image_store: str = "packed"
    duplicates: str = "keep"
    exclude: tuple[str, ...] = ()
    exclude_distance: int = 0
    shards: int = 1
    shard_range: tuple[int, int] | None = None
    distributor: str = "local"
    part_images: int | None = None

    def request(self) -> dict[str, Any]:
        """The options that decide the outcome."""
        return {
            "images": self.images.request(),
            "captions": self.captions._asdict(),
            "tokenizer": self.tokenizer.request(),
            "image_store": self.image_store,
            "duplicates": self.duplicates,
            "exclude": exclusion_request(self.exclude, self.exclude_distance),
            "shards": self.shards,
            "part_images": self.part_images,
        }


class _Layout(NamedTuple):
    """The parts of a source; images: of all parts, None where only reading tells; digest: of the images of a plan."""

    entries: Entries
    parts: int
    images: int | None
    part_images: int
    digest: str | None
    splits: set[str]
    images_per_text: int
    image_root: str


def prepare(source: Source, options: Options, extra_files: ExtraFiles | None = None) -> dict[str, Any] | None:
    """Prepare a source, or the parts of it that ``options.shard_range`` names.

    Args:
        source: what to read.
        options: see Options.
        extra_files: writes files of the source's own into a data-bin's folder.

    Returns:
        The manifest; None where the destination already holds this, or where only some shards were asked for.

    Raises:
        PrepError, DataBinError: preparation cannot go on; nothing is left, unless parts of it can be used again.
        OSError: a file cannot be read or written; finished parts stay, and the same command goes on with them.
    """
    is_prepared(options.dest, {}, overwrite=True)
    base = {**_source_request(source), **options.request()}
    options.dest.parent.mkdir(parents=True, exist_ok=True)
    work = WorkFolder(options.dest)
    with work.locked(shared=options.shard_range is not None):
        work.begin(base, options.overwrite)
        with _cleared_on_error(work, options):
            exclusions = _load_exclusions(options, work)
            layout = _lay_out(source, options, work, exclusions)
            request = base if layout.digest is None else {**base, "digest": layout.digest}
            if is_prepared(options.dest, request, options.overwrite):
                work.remove()
                return None
            _check_splits(layout, options)
            job = _job(source, options, layout, request)
            work.save_job(job)
            if not options.tokenizer.needs_training and not work.tokenizer.is_dir():
                _install_tokenizer(work, options.tokenizer)
            _make_parts(source, options, work, layout, job, exclusions)
            if options.shard_range is not None:
                return None
            return finish([work], job, job.shards, options.dest, options.workers, options.overwrite, extra_files)


def finish(
    works: list[WorkFolder], job: Job, shards: int, dest: Path, workers: int, overwrite: bool,
    extra_files: ExtraFiles | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Merge finished parts, publish the result, and remove the work folders.

    Returns:
        The manifest.

    Raises:
        PrepError, DataBinError, OSError: as merge_parts and publish.
    """
    # Beside dest: works may lie in another file system.
    out = works[0].path / "out" if dest == works[0].dest else dest.with_name(f".{dest.name}.merging")
    manifest = merge_parts(works, job, shards, out, workers, extra_files)
    publish(out, dest, overwrite)
    for work in works:
        work.remove()
    return manifest


@contextmanager
def _cleared_on_error(work: WorkFolder, options: Options) -> Iterator[None]:
    """What cannot succeed the next time either leaves nothing behind; other shards' work is not touched."""
    try:
        yield
    except WorkerDied:
        raise
    except (PrepError, DataBinError):
        if options.shard_range is None:
            work.remove()
        raise


def _source_request(source: Source) -> dict[str, Any]:
    request = {"kind": source.kind, **source.options}
    if isinstance(source, TableSource):
        return {**request, "files": {role: sha256_of(path) for role, path in source.files.items()}}
    return {**request, "archives": _archives_digest(source)}


def _archives_digest(source: ArchiveSource) -> str:
    """SHA-256 over split, name, size and time of every archive."""
    digest = hashlib.sha256()
    for split, path in source.archives:
        state = file_state(path) if source.on_disk else ""
        digest.update(f"{split}\0{base_name(path)}\0{state}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _load_exclusions(options: Options, work: WorkFolder) -> Exclusions | None:
    """What --exclude names, read once for all runs that share the work; None where it names nothing."""
    if not options.exclude:
        return None
    if not work.exclusions.is_dir():
        folder = private_path(work.exclusions)
        Exclusions.load(options.exclude, options.exclude_distance, folder)
        publish_folder(folder, work.exclusions)
    return Exclusions(work.exclusions / "exclusions")


def _lay_out(source: Source, options: Options, work: WorkFolder, exclusions: Exclusions | None) -> _Layout:
    if isinstance(source, TableSource):
        return _lay_out_table(source, options, work, exclusions)
    return _lay_out_archives(source, options, exclusions)


def _lay_out_table(source: TableSource, options: Options, work: WorkFolder, exclusions: Exclusions | None) -> _Layout:
    place = image_place(source.images)
    if options.image_store == "reference" and is_remote(source.images):
        raise PrepError("--image-store reference needs local images: training reads them in place. Use packed")
    plan = build_plan(work.plan, source, options.captions, exclusions)
    part_images = options.part_images or max(PART_IMAGES, plan.images // _MOST_PARTS)
    if options.shards > 1:
        if plan.images_per_text > 1:
            raise PrepError("--shards cannot divide texts of several images, which lie in any of them: leave it out")
        part_images = min(part_images, max(1, plan.images // (_PARTS_OF_SHARD * options.shards)))
        _check_shards(options.shards, parts_of_split(work.plan, TRAIN, part_images))
    parts = -(-plan.images // part_images)
    entries = PlanEntries(work.plan, part_images)
    splits = set(plan.splits)
    return _Layout(
        entries, parts, plan.images, part_images, plan.digest, splits, plan.images_per_text, place.root
    )  # fmt: skip


def _lay_out_archives(source: ArchiveSource, options: Options, exclusions: Exclusions | None) -> _Layout:
    paths = [path for _, path in source.archives]
    if options.shards > 1:
        _check_shards(options.shards, [number for number, (split, _) in enumerate(source.archives) if split == TRAIN])
    root = ""
    if options.image_store == "reference":
        if not source.can_reference or any(map(is_remote, paths)):
            raise PrepError(
                "--image-store reference needs uncompressed local tar files: training reads them in place. Use packed"
            )
        root = os.path.commonpath([os.path.dirname(os.path.realpath(path)) for path in paths])
    entries = ArchiveEntries(source, options.captions, exclusions)
    splits = {split for split, _ in source.archives}
    return _Layout(entries, len(paths), None, 0, None, splits, 1, root)


def _check_shards(shards: int, train_parts: list[int]) -> None:
    """Part p goes to shard p % shards."""
    empty = sorted(set(range(shards)) - {number % shards for number in train_parts})
    if empty:
        raise PrepError(f"--shards {shards} leaves {len(empty)} of them without training images: ask for fewer")


def _check_splits(layout: _Layout, options: Options) -> None:
    """A tokenizer cannot be trained without a train split; better said before an hour of decoding than after it."""
    if layout.images is not None and layout.splits and options.tokenizer.needs_training and TRAIN not in layout.splits:
        raise no_train_split(layout.splits)


def _job(source: Source, options: Options, layout: _Layout, request: dict[str, Any]) -> Job:
    named: dict[str, Any] = {"kind": source.kind, **source.options}
    if isinstance(source, TableSource):
        named["files"] = {role: base_name(path) for role, path in source.files.items()}
    return Job(
        request=request,
        source=named,
        parts=layout.parts,
        shards=options.shards,
        image_root=layout.image_root if options.image_store == "reference" else None,
        plan_images=layout.images or 0,
        images_per_text=layout.images_per_text,
        position_name=source.position_name,
        duplicates=options.duplicates,
        tokenizer=options.tokenizer.request(),
    )


def _install_tokenizer(work: WorkFolder, tokenizer: TokenizerSource) -> None:
    folder = private_path(work.tokenizer)
    folder.mkdir()
    tokenizer.install(folder)
    publish_folder(folder, work.tokenizer)


def _make_parts(
    source: Source, options: Options, work: WorkFolder, layout: _Layout, job: Job, exclusions: Exclusions | None
) -> None:
    first, end = options.shard_range or (0, options.shards)
    pending = [number for number in work.missing_parts(job) if first <= number % options.shards < end]
    part_job = PartJob(
        work.parts, layout.entries, options.images, options.image_store == "packed", exclusions, source.position_name
    )
    images = None
    if layout.images is not None:
        images = sum(min(layout.part_images, layout.images - number * layout.part_images) for number in pending)
    run_parts(part_job, pending, images, options.workers, options.distributor)
