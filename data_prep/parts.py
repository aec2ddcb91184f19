"""The finished parts of a job, wherever they lie."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .part import SUMMARY, is_part_sound, part_folder
from .records import PrepError
from .split_merge import PartSplit
from .work import Job, WorkFolder


@dataclass(frozen=True)
class Parts:
    """The finished parts of a job: their folders by number, and where their encoded captions go."""

    folders: list[Path]
    summaries: list[dict[str, Any]]
    text: Path

    @property
    def splits(self) -> list[str]:
        """Names of all splits."""
        return sorted({split for summary in self.summaries for split in summary["splits"]})

    def of_split(self, split: str, numbers: list[int]) -> Iterator[tuple[int, PartSplit]]:
        """What the parts with these numbers have of a split."""
        for number in numbers:
            summary = self.summaries[number]["splits"].get(split)
            if summary is not None:
                prefix = str(self.folders[number] / split)
                yield number, PartSplit(prefix, str(self.text / f"{number:06d}" / split), summary)

    def captions(self, split: str) -> int:
        """Number of captions of a split."""
        return sum(summary["splits"].get(split, {}).get("captions", 0) for summary in self.summaries)

    def rejected(self) -> Counter[str]:
        """Dropped records by category."""
        return sum((Counter(summary["rejected"]) for summary in self.summaries), Counter())

    def excluded(self) -> dict[str, Counter[str]]:
        """Images kept out, by exclusion and how they were recognised."""
        counts: dict[str, Counter[str]] = {}
        for summary in self.summaries:
            for name, ways in summary["excluded"].items():
                counts.setdefault(name, Counter()).update(ways)
        return counts


def find_part(roots: Sequence[Path], number: int) -> Path | None:
    """The folder of a part under the first of some folders that has it whole; None where none has."""
    places = (part_folder(root, number) for root in roots)
    return next((place for place in places if is_part_sound(place)), None)


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished part."""
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


def find_parts(works: list[WorkFolder], job: Job) -> Parts:
    """The finished parts of a job, which may lie in several folders.

    Raises:
        PrepError: some are missing; the message says how to make them.
    """
    folders: list[Path] = []
    missing: list[int] = []
    for number in range(job.parts):
        place = find_part([work.parts for work in works], number)
        if place is None:
            missing.append(number)
        else:
            folders.append(place)
    if missing:
        shards = sorted({number % job.shards for number in missing})
        raise PrepError(
            f"{len(missing):,} of {job.parts:,} parts are missing, of shards {', '.join(map(str, shards))}: run the "
            f"job again with --shards {job.shards} --shard-range {shards[0]}:{shards[-1] + 1}"
        )
    return Parts(folders, [read_summary(folder) for folder in folders], works[0].text)


def plan_summary(work: WorkFolder) -> dict[str, Any]:
    """What the plan has dropped and excluded; empty without a plan."""
    path = work.plan / "plan.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rejected": {}, "excluded": {}}
