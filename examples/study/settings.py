"""Settings of a study: a YAML file, by path or by the name of one in ``settings/``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "settings"
OBJECTIVES = ("itc", "itm", "mlm", "mim")
BUDGETS = ("updates", "compute")
# Not a combination of losses: one linear layer a modality on the untrained model's features.
LINEAR = "linear"


class StudyError(ValueError):
    """Something is wrong with a study; the message says what to change."""


@dataclass
class Block:
    """Runs that are made one after the other: every combination of the values."""

    losses: list[str] = MISSING
    fraction: list[float] = field(default_factory=lambda: [1.0])
    seed: list[int] = field(default_factory=lambda: [1, 2, 3])
    variant: list[str] = field(default_factory=lambda: ["default"])
    budget: str = "updates"
    finetune: bool = False


@dataclass
class Settings:
    """What a study's file may hold.

    Attributes:
        title: one line.
        data: data-bin to train on, relative to the checkout.
        eval_data: data-bin to measure and to fine-tune on; empty = data.
        subset: held-out split of it.
        reference: losses with which the others are compared.
        full: losses whose cost is the compute budget.
        train: options of fairseq-train that all runs share.
        losses: for each name the weights of its objectives.
        variants: for each name more options of fairseq-train; for the linear baseline, of measure.py.
        measure: options of measure.py.
        finetune: options of fairseq-train for fine-tuning.
        linear: options of measure.py for the linear baseline.
        runs: blocks of runs, in their order.
    """

    title: str = MISSING
    data: str = MISSING
    eval_data: str = ""
    subset: str = "valid"
    reference: str = "itc_itm"
    full: str = "all"
    train: dict[str, Any] = MISSING
    losses: dict[str, dict[str, Any]] = MISSING
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    measure: dict[str, Any] = field(default_factory=dict)
    finetune: dict[str, Any] = field(default_factory=dict)
    linear: dict[str, Any] = field(default_factory=dict)
    runs: list[Block] = MISSING


def names() -> list[str]:
    """The studies that are there by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def settings_path(name: str) -> Path:
    """The file of a study given by name or by path.

    Raises:
        StudyError: there is none.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise StudyError(f"no study {name!r}: give the path of a .yaml file, or one of {', '.join(names())}")
    return path


def read_settings(path: Path) -> Settings:
    """Read and check a study's file.

    Raises:
        StudyError: it is no YAML, or a key or value is not known.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.load(path))
        missing = OmegaConf.missing_keys(merged)
        settings = OmegaConf.to_object(merged) if not missing else None
    except (OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(settings, Settings):
        raise StudyError(f"{path} lacks {', '.join(sorted(missing))}")
    _check(path, settings)
    return settings


def _check(path: Path, settings: Settings) -> None:
    for name, weights in settings.losses.items():
        is_number = all(type(weight) in (int, float) and weight > 0 for weight in weights.values())
        if set(weights) - set(OBJECTIVES) or not weights or not is_number or name == LINEAR:
            raise StudyError(f"{path}: losses.{name} needs positive weights of some of {', '.join(OBJECTIVES)}")
    known = {"losses": {*settings.losses, LINEAR}, "variant": {*settings.variants, "default"}}
    for number, block in enumerate(settings.runs):
        for key, choices in known.items():
            unknown = set(getattr(block, key)) - choices
            if unknown:
                raise StudyError(
                    f"{path}: runs[{number}].{key}: unknown {', '.join(sorted(unknown))}; choose from "
                    f"{', '.join(sorted(choices))}"
                )
        if block.budget not in BUDGETS:
            raise StudyError(f"{path}: runs[{number}].budget: {block.budget} is none of {', '.join(BUDGETS)}")
        if not all(0.0 < fraction <= 1.0 for fraction in block.fraction):
            raise StudyError(f"{path}: runs[{number}].fraction: must lie above 0 and at most at 1")
        if block.budget == "compute" and settings.full not in settings.losses:
            raise StudyError(f"{path}: full: {settings.full} is not among the losses; a compute budget is its cost")
