"""Trains the tokenizer on the captions of the parts, and encodes them."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from mvlm_plugin.data.token_file import token_type
from mvlm_plugin.data.tokenizers import CaptionTokenizer

from .destination import private_path, publish_folder
from .parallel import count_done, progress_bar, run_units
from .parts import Parts, find_part, read_summary
from .records import PrepError
from .tokenizer_training import TrainCaptions, installed_tokenizer, train_tokenizer
from .work import TRAIN, Job, WorkFolder


def no_train_split(splits: Iterable[str]) -> PrepError:
    """The error where a tokenizer is to be trained on nothing."""
    return PrepError(
        f"there is no train split to train a tokenizer on (splits: {', '.join(sorted(splits))}): "
        "give --tokenizer-from DATABIN, the folder prepared for training"
    )


def ensure_tokenizer(work: WorkFolder, job: Job, parts: Parts) -> CaptionTokenizer:
    """The job's tokenizer; it is trained on the captions of the train split where that is still to do."""
    if not work.tokenizer.is_dir():
        if TRAIN not in parts.splits:
            raise no_train_split(parts.splits)
        folder = private_path(work.tokenizer)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        paths = [Path(f"{part.prefix}.captions") for _, part in parts.of_split(TRAIN, list(range(job.parts)))]
        train_tokenizer(folder, TrainCaptions(paths, parts.captions(TRAIN)), job.tokenizer["vocab_size"])
        publish_folder(folder, work.tokenizer)
    return installed_tokenizer(job.tokenizer["kind"], work.tokenizer)


@lru_cache(maxsize=1)
def _tokenizer_of_process(kind: str, folder: Path) -> CaptionTokenizer:
    """Loaded once a worker process, not once a part."""
    return installed_tokenizer(kind, folder)


@dataclass(frozen=True)
class _Encoder:
    """Encodes the captions of a part; goes to worker processes with every part, so it holds nothing large."""

    roots: tuple[Path, ...]
    text: Path
    kind: str
    tokenizer_folder: Path

    def __call__(self, number: int) -> None:
        folder = self.text / f"{number:06d}"
        part = find_part(self.roots, number)
        if folder.is_dir() or part is None:
            return
        tokenizer = _tokenizer_of_process(self.kind, self.tokenizer_folder)
        dtype = token_type(len(tokenizer.dictionary))
        unfinished = private_path(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for split in read_summary(part)["splits"]:
            sizes = []
            with (
                open(part / f"{split}.captions", encoding="utf-8", newline="\n") as lines,
                open(unfinished / f"{split}.tokens", "wb") as tokens,
            ):
                for line in lines:
                    ids = np.array(tokenizer.encode(line.removesuffix("\n")), dtype=dtype)
                    tokens.write(ids.tobytes())
                    sizes.append(len(ids))
                    count_done()
            np.array(sizes, dtype="<i4").tofile(unfinished / f"{split}.sizes")
        publish_folder(unfinished, folder)


def encode_captions(works: list[WorkFolder], job: Job, parts: Parts, workers: int) -> None:
    """Encode the captions of all parts."""
    total = sum(parts.captions(split) for split in parts.splits)
    roots = tuple(work.parts for work in works)
    encoder = _Encoder(roots, parts.text, job.tokenizer["kind"], works[0].tokenizer)
    with progress_bar(total, "encode captions", "caption") as bar:
        run_units(encoder, range(job.parts), workers, bar)
