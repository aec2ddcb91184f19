"""A small study, and programs that stand in for training and measuring."""

import stat
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from examples.study.grid import Run, runs_of
from examples.study.settings import Settings, read_settings

SMALL: dict[str, Any] = {
    "title": "small",
    "data": "data-bin/scenes",
    "subset": "test",
    "train": {
        "arch": "mvlm_tiny", "optimizer": "adam", "lr": 1e-3, "batch-size": 16, "max-update": 3, "cpu": True,
        "num-workers": 0,
    },
    "losses": {"itc": {"itc": 1}, "itc_itm": {"itc": 1, "itm": 1}, "all": {"itc": 1, "itm": 1, "mlm": 1, "mim": 1}},
    "variants": {"both": {"mask-both": True}},
    "measure": {"top-k": 10, "gain-groups": 1, "probe-fraction": 0.5, "probe-epochs": 3},
    "finetune": {
        "arch": "mvlm_tiny", "optimizer": "adam", "lr": 1e-3, "batch-size": 16, "max-update": 2, "cpu": True,
        "num-workers": 0, "itc-weight": 0,
    },
    "linear": {"arch": "mvlm_tiny", "probe-epochs": 3},
    "runs": [
        {"losses": ["itc_itm", "all"], "fraction": [0.25], "seed": [1, 2]},
        {"losses": ["linear"], "fraction": [0.25], "seed": [1]},
        {"losses": ["itc_itm"], "fraction": [0.25], "seed": [1, 2], "budget": "compute"},
    ],
}  # fmt: skip

# Appends its first words to a file; fairseq-train leaves a checkpoint, python a measurement.
_PROGRAM = """#!{python}
import json, os, signal, sys
from pathlib import Path
here = Path(__file__).parent
words = sys.argv[1:]
with (here / "calls").open("a") as calls:
    calls.write({name!r} + "\\n")
for trap in ("kill", "fail"):
    if (here / f"{{trap}}-{name}").exists():
        (here / f"{{trap}}-{name}").unlink()
        if trap == "kill":
            os.kill(os.getppid(), signal.SIGKILL)
        print("the last words of {name}")
        sys.exit(3)
if {name!r} == "train":
    folder = Path(words[words.index("--save-dir") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint_last.pt").write_text("weights")
else:
    out = Path(words[words.index("--out") + 1])
    out.write_text(json.dumps({{"itc": {{"sum": 1.5}}}}))
"""


def write_study(path: Path, **changes: Any) -> Path:
    """SMALL with other entries, as a file."""
    OmegaConf.save(OmegaConf.create({**SMALL, **changes}), path)
    return path


def small_settings(folder: Path, **changes: Any) -> Settings:
    """The same, read."""
    return read_settings(write_study(folder / "small.yaml", **changes))


def one_run(folder: Path, **block: Any) -> Run:
    """The first run of a study of one block."""
    return runs_of(small_settings(folder, runs=[{"losses": ["all"], "fraction": [0.25], "seed": [1], **block}]))[0]


def write_programs(folder: Path) -> tuple[str, str]:
    """Stand-ins for fairseq-train and python; a file ``kill-train`` or ``fail-python`` beside them is a trap."""
    for name in ("train", "python"):
        program = folder / name
        program.write_text(_PROGRAM.format(python=sys.executable, name=name))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(folder / "train"), str(folder / "python")


def calls(folder: Path) -> list[str]:
    """Which programs have been started so far."""
    return (folder / "calls").read_text().split()
