#!/usr/bin/env python
"""Seconds and memory to open a large split, to read from it, and to read from it in several worker processes.

A split of that many pairs is generated in a temporary folder: each image in a file of its own as far as the index can
tell, though all of them are the same file. Printed is one JSON object a line. All memory is what is added to a process
that has imported everything: private_mib belongs to the process alone, shared_mib are pages that other processes have
mapped too. A page of a file counts as private while only one process has read it.

    python benchmarks/open_databin.py --pairs 10000000
"""

import argparse
import json
import multiprocessing
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mvlm_plugin.data import databin
from mvlm_plugin.data.image_index import CONTAINER, HEADER, MAGIC, RECORD
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.token_file import TokenFileWriter

SPLIT = "train"
IMAGE = b"the encoded bytes of an image " * 100
IMAGE_NAME = "image.jpg"
TOKENS = 12  # a caption
READS = 1000
WORKERS = 4
CHUNK = 1 << 18  # entries written at once


def write_lines(prefix: Path, line: bytes, count: int) -> None:
    """A line file of equal lines."""
    with open(f"{prefix}.bin", "wb") as lines, open(f"{prefix}.idx", "wb") as offsets:
        for start in range(0, count, CHUNK):
            part = np.arange(start, min(start + CHUNK, count), dtype="<u8")
            lines.write((line + b"\n") * len(part))
            (part * (len(line) + 1)).tofile(offsets)
        np.array([count * (len(line) + 1)], dtype="<u8").tofile(offsets)


def write_index(path: Path, image: Path, count: int) -> None:
    """An index of as many containers as images, all of the same name."""
    table_at = HEADER.size + count * RECORD.itemsize
    record = np.array([(0, len(IMAGE), 0, 640, 480, zlib.crc32(IMAGE), 0)], dtype=RECORD)
    container = np.array([(0, len(IMAGE_NAME), 0, len(IMAGE), image.stat().st_mtime_ns)], dtype=CONTAINER)
    with open(path, "wb") as file:
        file.write(HEADER.pack(MAGIC, count, count, table_at, table_at + count * CONTAINER.itemsize))
        for start in range(0, count, CHUNK):
            records = np.repeat(record, min(CHUNK, count - start))
            records["container"] = np.arange(start, start + len(records))
            records.tofile(file)
        for start in range(0, count, CHUNK):
            np.repeat(container, min(CHUNK, count - start)).tofile(file)
        file.write(IMAGE_NAME.encode())


def generate(folder: Path, count: int) -> None:
    """A data-bin of ``count`` pairs of an image and a caption each."""
    image = folder / IMAGE_NAME
    image.write_bytes(IMAGE)
    write_index(databin.images_path(folder, SPLIT), image, count)
    tokens = TokenFileWriter(databin.text_prefix(folder, SPLIT), np.uint16)
    for start in range(0, count, CHUNK):
        captions = min(CHUNK, count - start)
        tokens.extend(np.full(captions * TOKENS, 7), np.full(captions, TOKENS))
    tokens.close()
    np.save(databin.pairs_path(folder, SPLIT), np.arange(count))
    # Zeros that take no room on the disk.
    np.lib.format.open_memmap(databin.hashes_path(folder, SPLIT), "w+", databin.HASH, (count,))
    write_lines(databin.names_prefix(folder, SPLIT), IMAGE_NAME.encode(), count)
    write_lines(databin.fields_prefix(folder, SPLIT), b'{"question_id": 1}', count)
    split = {"images": count, "captions": count, "fields": {"question_id": {"type": "integer", "missing": 0}}}
    manifest = {"format_version": databin.FORMAT_VERSION, "splits": {SPLIT: split}}
    manifest |= {"image_store": "reference", "image_root": str(folder), "tokenizer": {"kind": "sentencepiece"}}
    (folder / databin.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def memory() -> dict[str, float]:
    """Private and shared MiB of this process."""
    sums = {"private_mib": 0.0, "shared_mib": 0.0}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        for kind in ("private", "shared"):
            if line.startswith((f"{kind.capitalize()}_Clean:", f"{kind.capitalize()}_Dirty:")):
                sums[f"{kind}_mib"] += int(line.split()[1]) / 1024
    return sums


class Stopwatch:
    """Seconds and memory added since it was made."""

    def __init__(self) -> None:
        self._memory = memory()
        self._start = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Both, rounded."""
        seconds = time.perf_counter() - self._start
        added = {name: round(value - self._memory[name], 1) for name, value in memory().items()}
        return {"seconds": round(seconds, 3), **added}


def read_pairs(store: PairStore, seed: int) -> None:
    """Everything there is about READS random pairs."""
    for pair in np.random.default_rng(seed).integers(len(store), size=READS).tolist():
        image = store.images_of(pair)[0]
        assert store.images.read(image) == IMAGE
        assert len(store.tokens(pair, 0, 64)) == TOKENS + 1
        assert store.names[image] == IMAGE_NAME
        assert store.fields(pair) == {"question_id": 1}


def work(store: PairStore, seed: int, barrier: Any, results: Any) -> None:
    """A worker process: read, wait until all have read, measure, wait until all have measured."""
    stopwatch = Stopwatch()
    read_pairs(store, seed)
    barrier.wait()
    results.put(stopwatch.read())
    barrier.wait()


def measure(folder: Path, reports: Any) -> None:
    """Open and read in this process, then in workers."""
    stopwatch = Stopwatch()
    store = PairStore(folder, SPLIT)
    reports.put({"step": "open", **stopwatch.read()})
    read_pairs(store, seed=0)
    reports.put({"step": f"open, then read {READS} pairs", **stopwatch.read()})
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(WORKERS), context.SimpleQueue()
    workers = [context.Process(target=work, args=(store, seed, barrier, results)) for seed in range(1, WORKERS + 1)]
    for worker in workers:
        worker.start()
    for number in range(1, WORKERS + 1):
        reports.put({"step": f"worker {number} of {WORKERS}, forked, reads {READS} pairs", **results.get()})
    for worker in workers:
        worker.join()


def main() -> None:
    """Generate, measure in a fresh process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000_000, help="default: %(default)s")
    parser.add_argument("--folder", help="where to make the temporary folder, about 160 bytes a pair")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        generate(Path(folder), args.pairs)
        reports = context.Queue()
        process = context.Process(target=measure, args=(Path(folder), reports))
        process.start()
        for _ in range(2 + WORKERS):
            print(json.dumps({"pairs": args.pairs, **reports.get()}), flush=True)
        process.join()


if __name__ == "__main__":
    main()
