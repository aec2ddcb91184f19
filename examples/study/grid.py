"""From settings to runs: what is run, in which order, and under which id."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mvlm_plugin.data.databin import shard_folders
from mvlm_plugin.data.fingerprint import fingerprint, joined_fingerprint

from .settings import LINEAR, Block, Settings, StudyError

_ID_DIGITS = 12


class Arm(NamedTuple):
    """Runs that differ in their seed alone."""

    losses: str
    fraction: float
    variant: str
    budget: str


@dataclass(frozen=True)
class Run:
    """One training with all that is measured of it, or one linear baseline.

    Attributes:
        losses: name of the combination, or LINEAR.
        weights: of its objectives.
        fraction: share of the training images.
        seed: of everything random, the choice of the images included.
        variant: name of further options.
        budget: ``updates``: as many as the settings say; ``compute``: as many as cost what the full losses cost.
        train, measure, finetune: options; finetune is empty where there is none.
        subset: held-out split.
    """

    losses: str
    weights: dict[str, float]
    fraction: float
    seed: int
    variant: str
    budget: str
    train: dict[str, Any]
    measure: dict[str, Any]
    finetune: dict[str, Any]
    subset: str

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.losses, f"{self.fraction:.0%}", f"seed {self.seed}"]
        parts += [self.variant] if self.variant != "default" else []
        parts += ["equal compute"] if self.budget == "compute" else []
        return ", ".join(parts)

    @property
    def arm(self) -> Arm:
        """What it shares with runs that differ in their seed alone."""
        return Arm(self.losses, self.fraction, self.variant, self.budget)

    def id(self, data: str) -> str:
        """Identity: of all settings, and of the data's fingerprint."""
        return digest({**asdict(self), "data": data})


def digest(content: Any) -> str:
    """The first hexadecimal digits of the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_ID_DIGITS]


def runs_of(settings: Settings) -> list[Run]:
    """All runs, those of the first block first; a run that two blocks name comes once.

    Raises:
        StudyError: two blocks name a run with and without fine-tuning.
    """
    runs: dict[tuple[Any, ...], Run] = {}
    for block in settings.runs:
        for run in _runs_of_block(settings, block):
            if runs.setdefault((*run.arm, run.seed), run) != run:
                raise StudyError(f"two blocks differ in finetune for the run {run.name}; name it in one of them")
    return list(runs.values())


def _runs_of_block(settings: Settings, block: Block) -> Iterator[Run]:
    # All seeds of an arm follow one another, and arms of a fraction too.
    for variant, fraction, seed, losses in product(block.variant, block.fraction, block.seed, block.losses):
        more = settings.variants.get(variant, {})
        is_linear = losses == LINEAR
        yield Run(
            losses,
            {} if is_linear else {name: float(weight) for name, weight in settings.losses[losses].items()},
            fraction,
            seed,
            variant,
            block.budget,
            {**settings.train, **more},
            {**settings.linear, **more} if is_linear else dict(settings.measure),
            dict(settings.finetune) if block.finetune and not is_linear else {},
            settings.subset,
        )


def chosen(runs: Sequence[Run], only: Sequence[str]) -> list[Run]:
    """The runs that fit all of some conditions such as ``losses=itc,all`` or ``fraction=0.25``.

    Raises:
        StudyError: a condition that names nothing known, or no run fits.
    """
    fields = ("losses", "fraction", "seed", "variant", "budget")
    for condition in only:
        key, _, values = condition.partition("=")
        if key not in fields or not values:
            raise StudyError(f"--only {condition}: write KEY=VALUE,VALUE with KEY one of {', '.join(fields)}")
        try:
            wanted = {float(value) if key in ("fraction", "seed") else value for value in values.split(",")}
        except ValueError:
            raise StudyError(f"--only {condition}: {key} is a number") from None
        runs = [run for run in runs if getattr(run, key) in wanted]
    if not runs:
        raise StudyError(f"no run fits --only {' '.join(only)}")
    return list(runs)


def data_fingerprint(paths: str) -> str:
    """One fingerprint of data-bins joined by ``:``.

    Raises:
        DataBinError: one is missing or damaged.
    """
    shards = [shard for path in paths.split(":") for shard in shard_folders(Path(path))]
    prints = [fingerprint(shard) for shard in shards]
    return prints[0] if len(prints) == 1 else joined_fingerprint(prints)
