"""From image jobs to a published data-bin: the part that all sources share."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mvlm_plugin.data.databin import FORMAT_VERSION, MANIFEST, REJECTED

from .captions import clean_record
from .destination import file_sha256, hash_files, is_prepared, partial_folder, publish
from .image_files import ImageFolder, files_digest, load_image_file
from .parallel import ordered_map, progress_bar
from .records import BadImage, ImageJob, LoadedImage, PrepError, RejectionLog, SourceImage
from .tokenizer_training import TokenizerSource, installed_tokenizer
from .writer import SplitWriter

_TRAIN = "train"


@dataclass(frozen=True)
class Options:
    """What every source has in common.

    Attributes:
        dest: folder to write.
        workers: processes that read and decode images.
        overwrite: whether dest may be replaced.
        max_pixels: larger images are rejected.
        container_bytes: size at which an image container is followed by a new one.
        tokenizer: where the tokenizer comes from.
    """

    dest: Path
    workers: int
    overwrite: bool
    max_pixels: int
    container_bytes: int
    tokenizer: TokenizerSource

    def request(self) -> dict[str, Any]:
        """The options that decide the outcome."""
        return {
            "max_pixels": self.max_pixels,
            "container_bytes": self.container_bytes,
            "tokenizer": self.tokenizer.request(),
        }


Loader = Callable[[Any], LoadedImage | BadImage]
ExtraFiles = Callable[[Path], None]


def prepare_files(
    records: Sequence[SourceImage],
    images: Path,
    source: dict[str, Any],
    sources: dict[str, Path],
    log: RejectionLog,
    options: Options,
) -> dict[str, Any] | None:
    """Prepare records whose images are files.

    Args:
        records: what the reader of the source gave.
        images: folder of the images.
        source: kind of source and its options, for the manifest.
        sources: files that were read, by role; their hashes tell whether the source changed.
        log: what was rejected so far.
        options: see Options.

    Returns:
        The manifest, or None where the destination already holds this.

    Raises:
        PrepError, DataBinError, OSError: preparation failed and nothing was written.
    """
    base = {**source, **options.request()}
    folder = ImageFolder(images)
    found = []
    with progress_bar(len(records), "find images", "image") as bar:
        for record in records:
            found.append(folder.find(record.image))
            bar.update()
    hashes = {role: file_sha256(path) for role, path in sources.items()}
    digest = files_digest([record.image for record in records], found)
    request = {**base, "files": hashes, "images": digest}
    if is_prepared(options.dest, request, options.overwrite):
        return None
    jobs = []
    for record, file in zip(records, found, strict=True):
        clean = clean_record(record, log)
        if isinstance(file, BadImage):
            log.add_image(clean, file)
        elif clean.captions:
            jobs.append(ImageJob(clean, file))
    load = partial(load_image_file, max_pixels=options.max_pixels)
    named = {**source, "files": {role: path.name for role, path in sources.items()}}
    return write_databin(jobs, load, named, request, log, options)


def write_databin(
    jobs: Sequence[ImageJob],
    load: Loader,
    source: dict[str, Any],
    request: dict[str, Any],
    log: RejectionLog,
    options: Options,
    extra_files: ExtraFiles | None = None,
) -> dict[str, Any]:
    """Load all images, train or copy the tokenizer, encode all captions and publish the folder.

    Args:
        jobs: images in the order in which they are stored.
        load: called with each job's payload in a worker process.
        source, request: entries of the manifest.
        log: takes the images that cannot be used.
        options: see Options.
        extra_files: writes files of the source's own into the folder.

    Returns:
        The manifest.

    Raises:
        PrepError, DataBinError, OSError: preparation failed and nothing was written.
    """
    _check_jobs({job.record.split for job in jobs}, log, options)
    with partial_folder(options.dest) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        writers = _store_images(jobs, load, folder, scratch, log, options)
        _check_jobs(set(writers), log, options)
        train = writers.get(_TRAIN) or next(iter(writers.values()))
        options.tokenizer.install(folder, train.captions_path, train.captions)
        tokenizer = installed_tokenizer(options.tokenizer.kind, folder)
        splits = {}
        with progress_bar(len(writers), "encode captions", "split") as bar:
            for split, writer in sorted(writers.items()):
                splits[split] = writer.finish_text(tokenizer)
                writer.captions_path.unlink()
                bar.update()
        scratch.rmdir()
        log.write(folder / REJECTED)
        if extra_files is not None:
            extra_files(folder)
        manifest = {
            "format_version": FORMAT_VERSION,
            "mvlm_plugin_version": _package_version(),
            "request": request,
            "source": source,
            "tokenizer": {"kind": options.tokenizer.kind, "vocab_size": len(tokenizer.dictionary)},
            "splits": splits,
            "rejected": {"total": len(log), "by_reason": dict(sorted(log.by_category.items()))},
            "files": hash_files(folder),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        publish(folder, options.dest, options.overwrite)
    return manifest


def _check_jobs(splits: set[str], log: RejectionLog, options: Options) -> None:
    if not splits:
        reasons = f"; rejected: {log.summary()}" if len(log) else ""
        raise PrepError(f"no usable image with a caption is left{reasons}. Check the captions file and --images")
    if options.tokenizer.needs_training and _TRAIN not in splits:
        raise PrepError(
            f"there is no train split to train a tokenizer on (splits: {', '.join(sorted(splits))}): "
            "give --tokenizer-from DATABIN, the folder prepared for training"
        )


def _store_images(
    jobs: Sequence[ImageJob], load: Loader, folder: Path, scratch: Path, log: RejectionLog, options: Options
) -> dict[str, SplitWriter]:
    """Load and pack every image; a split gets its files with its first good image."""
    writers: dict[str, SplitWriter] = {}
    loaded = ordered_map(load, (job.payload for job in jobs), options.workers)
    with closing(loaded), progress_bar(len(jobs), "read images", "image") as bar:  # type: ignore[type-var]
        for job, image in zip(jobs, loaded, strict=True):
            record = job.record
            if isinstance(image, BadImage):
                log.add_image(record, image)
            else:
                if record.split not in writers:
                    writers[record.split] = SplitWriter(folder, scratch, record.split, options.container_bytes)
                writers[record.split].add(image, record.captions)
            bar.update()
    for writer in writers.values():
        writer.finish_images()
    return writers


def _package_version() -> str:
    try:
        return version("mvlm-plugin")
    except PackageNotFoundError:
        return "unknown"
