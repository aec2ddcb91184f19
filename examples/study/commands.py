"""Command lines of a run's stages."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .grid import Run
from .settings import LINEAR, OBJECTIVES, StudyError

PRETRAINED = Path("pretrain") / "checkpoint_last.pt"
FINETUNED = Path("finetune") / "checkpoint_last.pt"


class Places(NamedTuple):
    """Where a run reads and writes: data-bins to train on and to measure on, the run's folder, a program's path."""

    data: str
    eval_data: str
    folder: Path
    train_program: str = "fairseq-train"
    python: str = "python"


def installed(places: Places) -> Places:
    """The same with the programs of this Python.

    Raises:
        StudyError: fairseq-train is not there.
    """
    beside = Path(sys.executable).parent / "fairseq-train"
    program = str(beside) if beside.exists() else shutil.which("fairseq-train")
    if program is None:
        raise StudyError("fairseq-train is not installed beside this Python: pip install -e . in the checkout")
    return places._replace(train_program=program, python=sys.executable)


def words(options: Mapping[str, Any]) -> list[str]:
    """``{"lr": 0.001, "cpu": True, "fp16": False}`` -> ``--lr 0.001 --cpu``."""
    result = []
    for name, value in options.items():
        if value is True:
            result.append(f"--{name}")
        elif value is not False and value is not None:
            result += [f"--{name}", str(value)]
    return result


def pretraining(run: Run, places: Places, updates: int) -> list[str]:
    """fairseq-train for the run's losses, share of the data and seed."""
    weights = {f"{name}-weight": run.weights.get(name, 0) for name in OBJECTIVES}
    share = {"data-fraction": run.fraction, "fraction-seed": run.seed} if run.fraction < 1 else {}
    options = {"task": "joint_masked_vl", "criterion": "joint_masked_vl", **run.train, **weights, **share}
    return _training(run, places, places.data, PRETRAINED, options | {"max-update": updates})


def finetuning(run: Run, places: Places) -> list[str]:
    """fairseq-train from the pre-trained checkpoint, on the same share of the photos where the data are the same."""
    is_same = run.fraction < 1 and places.data == places.eval_data
    share = {"data-fraction": run.fraction, "fraction-seed": run.seed} if is_same else {}
    start = {"finetune-from-model": places.folder / PRETRAINED}
    options = {"task": "vl_retrieval", "criterion": "vl_retrieval", **run.finetune, **share, **start}
    return _training(run, places, places.eval_data, FINETUNED, options)


def _training(run: Run, places: Places, data: str, checkpoint: Path, options: Mapping[str, Any]) -> list[str]:
    own = {
        "seed": run.seed,
        "save-dir": places.folder / checkpoint.parent,
        "no-epoch-checkpoints": True,
        "disable-validation": True,
        "log-format": "json",
    }
    return [places.train_program, data, "--user-dir", "mvlm_plugin", *words({**options, **own})]


def measuring(run: Run, places: Places, is_finetuned: bool, out: Path) -> list[str]:
    """measure.py on a checkpoint, or for the linear baseline on the architecture."""
    options = dict(run.measure)
    command = [places.python, "-m", "examples.study.measure", "--data", places.eval_data, "--subset", run.subset]
    command += ["--out", str(out), "--seed", str(run.seed)]
    if run.losses == LINEAR:
        features = ["--features", str(places.folder.parent / "features")]
        return [*command, "--probe-fraction", str(run.fraction), *features, *words(options)]
    if is_finetuned:
        weights = {name: float(run.finetune.get(f"{name}-weight", 1)) for name in ("itc", "itm")}
        options = {name: value for name, value in options.items() if name in ("top-k", "batch-size", "device")}
        trained = [name for name in ("itc", "itm") if weights[name] or run.weights.get(name)]
    else:
        trained = [name for name in OBJECTIVES if run.weights.get(name)]
    path = places.folder / (FINETUNED if is_finetuned else PRETRAINED)
    return [*command, "--path", str(path), "--objectives", ",".join(trained), *words(options)]
