"""The folder of unfinished work beside a destination: what a killed run leaves, and the next one goes on with."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from .destination import private_path
from .part import is_part_sound, part_folder
from .records import PrepError

TRAIN = "train"
_JOB = "job.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Job:
    """What the parts are made of and what becomes of them; the same for all runs that share the work.

    Attributes:
        request: everything that decides the outcome, as the manifest stores it.
        source: the source's entry of the manifest.
        parts: number of parts.
        shards: number of data-bins that the training split is divided into; part p goes to shard p % shards.
        image_root: folder that the images are referred to in; None where they are packed.
        plan_images: images of the plan, 0 without one.
        images_per_text: the most images of a text.
        position_name: see RejectionLog.
        duplicates: what becomes of images with the same bytes: "merge", "drop" or "keep".
        tokenizer: its kind, and the settings or file hashes that decide it.
    """

    request: dict[str, Any]
    source: dict[str, Any]
    parts: int
    shards: int
    image_root: str | None
    plan_images: int
    images_per_text: int
    position_name: str
    duplicates: str
    tokenizer: dict[str, Any]


class WorkFolder:
    """The folder ``.NAME.partial`` beside the destination ``NAME``.

    Args:
        dest: the data-bin that is being made.
    """

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.path = dest.with_name(f".{dest.name}.partial")
        self.plan = self.path / "plan"
        self.exclusions = self.path / "exclusions"
        self.parts = self.path / "parts"
        self.text = self.path / "text"
        self.tokenizer = self.path / "tokenizer"

    @contextmanager
    def locked(self, shared: bool) -> Iterator[None]:
        """Hold the folder; it is made where it is not there. shared: jobs that each make some of the parts.

        Raises:
            PrepError: another process holds it.
        """
        self._mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        while (file := self._open_lock()) is None:
            pass
        with file:
            self._lock_file = file
            yield

    def _open_lock(self) -> TextIO | None:
        """The lock's file, locked; None where the folder was removed meanwhile by the process that held it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                file = stack.enter_context(open(self.path / _LOCK, "w"))
                self._lock(file, self._mode)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path / _LOCK)):
                    stack.pop_all()
                    return file
            except FileNotFoundError:
                pass
        return None

    def _lock(self, file: TextIO, mode: int) -> None:
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PrepError(
                f"{self.dest} is being prepared by another process: wait for it, or use another --dest"
            ) from None

    def begin(self, request: dict[str, Any], overwrite: bool) -> None:
        """Take over the work that is there if it answers the same request; to be called while it is locked.

        Raises:
            PrepError: it answers another one, and overwrite is not given or other jobs are at work on it.
        """
        path = self.path / "request.json"
        text = json.dumps(request, sort_keys=True)
        known = path.read_text(encoding="utf-8") if path.is_file() else text
        if known != text:
            if not overwrite:
                raise PrepError(
                    f"{self.path} holds unfinished work of other options or other source files: go on with those, "
                    "give --overwrite to begin anew, or use another --dest"
                )
            self._lock(self._lock_file, fcntl.LOCK_EX)
            self.clear()
        partial = private_path(path)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
        self._lock(self._lock_file, self._mode)

    def save_job(self, job: Job) -> None:
        """Keep what merging needs."""
        partial = private_path(self.path / _JOB)
        partial.write_text(json.dumps(asdict(job)), encoding="utf-8")
        os.replace(partial, self.path / _JOB)

    def load_job(self) -> Job:
        """What save_job kept.

        Raises:
            PrepError: there is no unfinished work.
        """
        try:
            return Job(**json.loads((self.path / _JOB).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise PrepError(f"there is no unfinished work for {self.dest}: give the --dest of the jobs") from None

    def missing_parts(self, job: Job) -> list[int]:
        """Numbers of the parts that are not there yet."""
        return [number for number in range(job.parts) if not is_part_sound(part_folder(self.parts, number))]

    def clear(self) -> None:
        """Remove everything but the lock."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
