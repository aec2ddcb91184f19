"""From finished parts to a data-bin, or several: tokenizer, encoded captions, merged files, manifest."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mvlm_plugin.data.databin import FORMAT_VERSION, MANIFEST, REJECTED
from mvlm_plugin.data.fingerprint import fingerprint_of, joined_fingerprint
from mvlm_plugin.data.token_file import token_type
from mvlm_plugin.data.tokenizers import CaptionTokenizer
from mvlm_plugin.environment import environment

from .destination import hash_files
from .encoding import encode_captions, ensure_tokenizer
from .parallel import progress_bar
from .part import REJECTED as PART_REJECTED
from .parts import Parts, find_parts, plan_summary
from .plan import REJECTED as PLAN_REJECTED
from .records import PrepError, RejectionLog, summary_of
from .split_merge import Duplicates, ImageMerger, TextMerger
from .work import TRAIN, Job, WorkFolder

# What decodes, scales, reads and cuts into tokens; the manifest says which versions did.
_PACKAGES = ("numpy", "pillow", "sentencepiece", "tokenizers", "pyarrow", "ijson", "fsspec", "ray")

ExtraFiles = Callable[[Path], None]


class DatabinMerger:
    """Writes one data-bin from some of the parts.

    Args:
        folder: the data-bin in the making.
        job, parts, tokenizer: of the work.
        duplicates: which images were stored already.
        log: takes what is dropped.
    """

    def __init__(
        self, folder: Path, job: Job, parts: Parts, tokenizer: CaptionTokenizer, duplicates: Duplicates,
        log: RejectionLog,
    ) -> None:  # fmt: skip
        self.container_hashes: dict[str, str] = {}
        self._folder, self._job, self._parts, self._duplicates, self._log = folder, job, parts, duplicates, log
        self._dictionary = tokenizer.dictionary
        self._scratch = folder / "scratch"
        self._scratch.mkdir(parents=True)
        self._plan_numbers = None
        if job.images_per_text > 1:
            shape = (job.plan_images + 1,)
            self._plan_numbers = np.memmap(self._scratch / "plan", dtype="<i8", mode="w+", shape=shape)

    def add_split(self, split: str, numbers: list[int]) -> dict[str, Any]:
        """Write a split from the parts with these numbers; returns its entry of the manifest."""
        if self._plan_numbers is not None:
            self._plan_numbers[:] = -1
        root = self._job.image_root
        images = ImageMerger(self._folder, self._scratch, split, root, self._plan_numbers)
        for number, part in self._parts.of_split(split, numbers):
            images.add(part, number, self._duplicates)
        images.close()
        self.container_hashes.update(images.container_hashes)
        texts = TextMerger(
            self._folder, self._scratch, split, token_type(len(self._dictionary)), self._dictionary.unk(),
            self._plan_numbers, self._job.images_per_text,
        )  # fmt: skip
        for number, part in self._parts.of_split(split, numbers):
            texts.add(part, number, self._log)
        texts.close()
        return {
            "images": images.images,
            "captions": texts.captions,
            "tokens": texts.tokens,
            "unknown_tokens": texts.unknown_tokens,
            "image_modes": dict(sorted(images.modes.items())),
            "image_bytes": images.image_bytes,
            "images_per_text": self._job.images_per_text,
            "fields": texts.fields.summary(),
        }

    def close(self) -> None:
        """Remove the scratch files."""
        self._plan_numbers = None
        shutil.rmtree(self._scratch)


def merge_parts(
    works: list[WorkFolder], job: Job, shards: int, out: Path, workers: int, extra_files: ExtraFiles | None = None
) -> dict[str, Any]:
    """Make the data-bin, or a folder of ``shards`` data-bins, in the folder ``out``; what lies there is removed.

    Returns:
        The manifest.

    Raises:
        PrepError, DataBinError, OSError: it cannot be made.
    """
    work = works[0]
    parts = find_parts(works, job)
    planned = plan_summary(work)
    rejected = parts.rejected() + Counter(planned["rejected"])
    if not parts.splits:
        reasons = f"; rejected: {summary_of(rejected)}" if rejected else ""
        raise PrepError(f"no usable image with a caption is left{reasons}. Check the captions file and --images")
    tokenizer = ensure_tokenizer(work, job, parts)
    encode_captions(works, job, parts, workers)
    shutil.rmtree(out, ignore_errors=True)
    merged = work.path / "merge.jsonl"
    duplicates = _new_duplicates(work, job)
    manifests: list[dict[str, Any]] = []
    with RejectionLog(merged, job.position_name) as log, progress_bar(shards, "merge", "data-bin") as bar:
        for shard in range(shards):
            folder = out / f"shard{shard}" if shards > 1 else out
            manifests.append(_merge_one(folder, shard, shards, work, job, parts, tokenizer, duplicates, log))
            duplicates.next_shard()
            bar.update()
    duplicates.close()
    excluded = parts.excluded()
    for name, ways in planned["excluded"].items():
        excluded.setdefault(name, Counter()).update(ways)
    rejected += log.by_category
    logs = [work.plan / PLAN_REJECTED, *(folder / PART_REJECTED for folder in parts.folders), merged]
    common = {
        "format_version": FORMAT_VERSION,
        "made_with": environment(_PACKAGES),
        "request": {**job.request, "shards": shards},
        "source": job.source,
        "tokenizer": {"kind": job.tokenizer["kind"], "vocab_size": len(tokenizer.dictionary)},
        "image_store": "packed" if job.image_root is None else "reference",
        **({} if job.image_root is None else {"image_root": job.image_root}),
        "rejected": {"total": rejected.total(), "by_reason": dict(sorted(rejected.items()))},
        "excluded": {name: dict(sorted(ways.items())) for name, ways in sorted(excluded.items())},
        "duplicates": {
            "policy": job.duplicates,
            "images_within_a_split": duplicates.within,
            "images_across_splits": duplicates.across,
        },
    }
    return _finish(out, shards, common, manifests, logs, extra_files)


def _new_duplicates(work: WorkFolder, job: Job) -> Duplicates:
    path = work.path / "duplicates.sqlite"
    path.unlink(missing_ok=True)
    return Duplicates(path, job.duplicates)


def _merge_one(
    folder: Path, shard: int, shards: int, work: WorkFolder, job: Job, parts: Parts, tokenizer: CaptionTokenizer,
    duplicates: Duplicates, log: RejectionLog,
) -> dict[str, Any]:  # fmt: skip
    """Write a data-bin but for its manifest; returns what is particular to it. Held-out splits go to the first."""
    merger = DatabinMerger(folder, job, parts, tokenizer, duplicates, log)
    splits = {}
    # Held-out splits first: where duplicates are dropped, the training split gives way.
    for split in sorted(parts.splits, key=lambda name: (name == TRAIN, name)):
        if split == TRAIN:
            splits[split] = merger.add_split(split, list(range(shard, job.parts, shards)))
        elif shard == 0:
            splits[split] = merger.add_split(split, list(range(job.parts)))
    merger.close()
    for path in work.tokenizer.iterdir():
        shutil.copyfile(path, folder / path.name)
    return {"splits": dict(sorted(splits.items())), "container_hashes": merger.container_hashes}


def _finish(
    out: Path, shards: int, common: dict[str, Any], manifests: list[dict[str, Any]], logs: list[Path],
    extra_files: ExtraFiles | None,
) -> dict[str, Any]:  # fmt: skip
    """Write the lists of what was rejected and the manifests."""
    folders = [out / f"shard{shard}" if shards > 1 else out for shard in range(shards)]
    for number, (folder, manifest) in enumerate(zip(folders, manifests, strict=True)):
        with open(folder / REJECTED, "wb") as file:
            for path in logs if number == 0 else ():
                if path.is_file():
                    with open(path, "rb") as log:
                        shutil.copyfileobj(log, file)
        if extra_files is not None:
            extra_files(folder)
        known = manifest.pop("container_hashes")
        manifest.update(common, splits=manifest.pop("splits"))
        if shards > 1:
            manifest["shard"] = number
        manifest["files"] = hash_files(folder, known)
        manifest["fingerprint"] = fingerprint_of(manifest)
        _write_manifest(folder, manifest)
    if shards == 1:
        return manifests[0]
    totals = {"shards": [folder.name for folder in folders], **common, "splits": _total_splits(manifests)}
    totals["files"] = hash_files(out, {}, [f"{folder.name}/{MANIFEST}" for folder in folders])
    totals["fingerprint"] = joined_fingerprint([manifest["fingerprint"] for manifest in manifests])
    _write_manifest(out, totals)
    return totals


def _total_splits(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    for manifest in manifests:
        for split, entry in manifest["splits"].items():
            total = totals.setdefault(split, {})
            for key in ("images", "captions", "tokens", "unknown_tokens", "image_bytes"):
                total[key] = total.get(key, 0) + entry[key]
            total["image_modes"] = dict(Counter(total.get("image_modes", {})) + Counter(entry["image_modes"]))
    return totals


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
