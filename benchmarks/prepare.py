#!/usr/bin/env python
"""Preparation: its rate against bare decoding by as many processes, and its memory for ever longer sources.

    python benchmarks/prepare.py rate --images 4000 --workers 2
    python benchmarks/prepare.py memory --records 10000 100000 1000000

``rate`` generates 640 x 480 photos and takes turns: as many worker processes as mvlm-prep has read and decode the files
and do nothing else (Pillow), then mvlm-prep prepares them from start to end, interpreter start and tokenizer included.
``memory`` prepares generated sources, rows of a TSV file and samples of tars, and prints the most memory (proportional
set size, of all processes together) and what a further record adds.
"""

import argparse
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from loader import photo
from PIL import Image

_TAR_SAMPLES = 10_000
_WORDS = ["a", "red", "small", "dog", "cat", "house", "runs", "sits", "on", "under", "the", "grass", "two", "people"]


def decode(path: Path) -> int:
    """Read and decode one file."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.load()
    return image.width


def decode_all(paths: list[Path], workers: int) -> float:
    """Seconds that worker processes need to decode all files; starting them is not counted."""
    with multiprocessing.Pool(workers) as pool:
        pool.map(decode, paths[: 4 * workers])
        start = time.perf_counter()
        for _ in pool.imap_unordered(decode, paths, chunksize=16):
            pass
        return time.perf_counter() - start


def prep(arguments: list[str], watch: Callable[[int], None] | None = None) -> float:
    """Seconds that mvlm-prep takes; watch is called with its process id again and again."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "data_prep.command", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if watch is not None:
            watch(process.pid)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"mvlm-prep {' '.join(arguments)} failed: run it by hand to see why")
    return time.perf_counter() - start


def rate(args: argparse.Namespace) -> dict[str, float]:
    """Images a second of bare decoding and of preparation, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        photos = [photo(seed) for seed in range(min(args.images, 200))]
        paths, lines = [], []
        for number in range(args.images):
            paths.append(folder / "images" / f"{number:07d}.jpg")
            # Bytes after the end of a JPEG are ignored: every file is another image.
            paths[-1].write_bytes(photos[number % len(photos)] + number.to_bytes(4, "little"))
            lines.append(f"{paths[-1].name}\t{caption(number)}\n")
        (folder / "captions.tsv").write_text("".join(lines))
        source = ["tsv", "--captions", str(folder / "captions.tsv"), "--images", str(folder / "images")]
        bare, whole = [], []
        for turn in range(args.rounds):
            bare.append(args.images / decode_all(paths, args.workers))
            dest = str(folder / f"bin{turn}")
            whole.append(args.images / prep([*source, "--dest", dest, "--workers", str(args.workers)]))
            print(f"round {turn + 1}: decode {bare[-1]:,.0f} images/s, mvlm-prep {whole[-1]:,.0f} images/s", flush=True)
    result = {"decode": median(bare), "prepare": median(whole)}
    result["ratio"] = median(w / b for w, b in zip(whole, bare, strict=True))
    kilobytes = sum(map(len, photos)) / len(photos) / 1000
    print(f"{args.images} images of {kilobytes:.0f} kB, {args.workers} processes, ratio {result['ratio']:.2f}")
    return result


def caption(number: int) -> str:
    """Eight words that depend on the number."""
    return " ".join(_WORDS[(number // len(_WORDS) ** place) % len(_WORDS)] for place in range(8))


def small_image(number: int) -> bytes:
    """A tiny JPEG of its own."""
    buffer = io.BytesIO()
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    image = Image.new("RGB", (12, 12), colour)
    image.putpixel((number % 12, number // 12 % 12), (255 - colour[0], 0, 0))
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def write_table(folder: Path, records: int) -> list[str]:
    """A TSV of so many rows, one image each."""
    (folder / "images").mkdir()
    with open(folder / "captions.tsv", "w") as file:
        for number in range(records):
            path = folder / "images" / f"{number // 10_000:04d}"
            if number % 10_000 == 0:
                path.mkdir()
            (path / f"{number:08d}.jpg").write_bytes(small_image(number))
            file.write(f"{path.name}/{number:08d}.jpg\t{caption(number)}\n")
    return ["tsv", "--captions", str(folder / "captions.tsv"), "--images", str(folder / "images")]


def write_tars(folder: Path, records: int) -> list[str]:
    """webdataset tars of so many samples."""
    for first in range(0, records, _TAR_SAMPLES):
        with tarfile.open(folder / f"{first // _TAR_SAMPLES:05d}.tar", "w") as tar:
            for number in range(first, min(first + _TAR_SAMPLES, records)):
                for extension, data in (("jpg", small_image(number)), ("txt", caption(number).encode())):
                    member = tarfile.TarInfo(f"{number:08d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return ["webdataset", "--tars", str(folder / "*.tar")]


def resident(pid: int) -> float:
    """MiB of a process and all its descendants: each page shared by n of them counts a n-th for each."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(child)) for child in (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass
    return total


def memory(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Peak memory for each number of records, and the slope between neighbours."""
    results: dict[str, list[dict[str, float]]] = {}
    for kind, write in (("tsv", write_table), ("webdataset", write_tars)):
        rows = results.setdefault(kind, [])
        for records in args.records:
            with tempfile.TemporaryDirectory(dir=args.scratch) as name:
                folder = Path(name)
                source = write(folder, records)
                samples: list[float] = []
                arguments = [*source, "--dest", str(folder / "bin"), "--workers", str(args.workers)]
                seconds = prep(arguments, lambda pid, samples=samples: samples.append(resident(pid)))
            row = {"records": records, "peak_mib": max(samples), "seconds": seconds}
            if rows:
                added = (row["peak_mib"] - rows[-1]["peak_mib"]) * 2**20
                row["bytes_a_record"] = added / (records - rows[-1]["records"])
            rows.append(row)
            slope = f", {row['bytes_a_record']:,.0f} bytes more a record" if "bytes_a_record" in row else ""
            print(f"{kind} {records:>9,} records: peak {row['peak_mib']:,.0f} MiB, {seconds:,.0f} s{slope}", flush=True)
    return results


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    workers = len(os.sched_getaffinity(0))
    for name, run in (("rate", rate), ("memory", memory)):
        sub = commands.add_parser(name)
        sub.add_argument("--workers", type=int, default=workers, help="processes (default: all cores)")
        sub.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
        sub.set_defaults(run=run)
        if name == "rate":
            sub.add_argument("--images", type=int, default=4000, help="640 x 480 photos (default: 4000)")
            sub.add_argument("--rounds", type=int, default=3, help="turns (default: 3)")
        else:
            sub.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
            sub.add_argument("--scratch", type=Path, help="folder for the generated sources (default: the system's)")
    args = parser.parse_args()
    result = args.run(args)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
