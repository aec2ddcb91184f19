"""A study that is going to be run: its settings, data, runs, and the folder of each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .commands import Places
from .csv_files import Known, read_known
from .grid import Run, chosen, data_fingerprint, runs_of
from .settings import Settings, read_settings, settings_path
from .stages import RESULT

# Where runs lie unless --out says otherwise, and what commands in tables name.
DEFAULT_OUT = Path("runs") / "study"


@dataclass(frozen=True)
class Plan:
    """A study, the data-bins that it reads here, and the fingerprint of both together.

    Attributes:
        name: of the study: its file's name.
        path: of its file.
        data, eval_data: data-bins to train on and to measure on.
        data_id: their fingerprints.
        out: folder of the study's runs.
        known: runs that were made elsewhere.
    """

    name: str
    path: Path
    settings: Settings
    runs: list[Run]
    data: str
    eval_data: str
    data_id: str
    out: Path
    known: Known

    def id(self, run: Run) -> str:
        """Of a run on these data."""
        return run.id(self.data_id)

    def folder(self, run: Run) -> Path:
        """Of a run's files."""
        return self.out / self.id(run)

    def places(self, run: Run) -> Places:
        """Where a run reads and writes here."""
        return Places(self.data, self.eval_data, self.folder(run))

    def shown_places(self, run: Run) -> Places:
        """As places(), with the names of the settings in place of this machine's."""
        data = self.settings.data
        return Places(data, self.settings.eval_data or data, DEFAULT_OUT / self.name / self.id(run))

    def made(self) -> list[Run]:
        """The runs that are done here, in the order of the runs."""
        return [run for run in self.runs if (self.folder(run) / RESULT).exists()]

    def results(self) -> list[tuple[Run, dict[str, Any]]]:
        """The runs that are done here, each with its result."""
        return [(run, json.loads((self.folder(run) / RESULT).read_text())) for run in self.made()]


def make_plan(study: str, data: str, eval_data: str, out: Path, known: Path | None = None) -> Plan:
    """Read a study.

    Args:
        study: name or path of its settings.
        data, eval_data: data-bins in place of the settings', if not empty.
        out: folder for studies.
        known: table of runs that were made elsewhere.

    Raises:
        StudyError: see read_settings() and read_known().
        DataBinError: a data-bin is missing or damaged.
    """
    path = settings_path(study)
    settings = read_settings(path)
    data = ":".join(str(Path(part).resolve()) for part in (data or settings.data).split(":"))
    named = eval_data or settings.eval_data
    eval_data = str(Path(named).resolve()) if named else data
    prints = [data_fingerprint(data)] + ([data_fingerprint(eval_data)] if eval_data != data else [])
    out = out.resolve() / path.stem
    runs = runs_of(settings)
    return Plan(path.stem, path, settings, runs, data, eval_data, "+".join(prints), out, read_known(known))


def open_runs(plan: Plan, only: list[str]) -> list[Run]:
    """The wanted runs whose result is missing here and not known from elsewhere, those on an equal compute budget last.

    Raises:
        StudyError: a condition that nothing fits.
    """
    done = {*map(plan.id, plan.made()), *plan.known.rows}
    missing = [run for run in chosen(plan.runs, only) if plan.id(run) not in done]
    return sorted(missing, key=lambda run: run.budget == "compute" and not _is_measured(plan, run))


def _is_measured(plan: Plan, run: Run) -> bool:
    """Whether the runs that an equal compute budget is counted from come before it in the study anyway."""
    needed = {run.losses, plan.settings.full}
    before = plan.runs[: plan.runs.index(run)]
    return needed <= {other.losses for other in before if (other.variant, other.budget) == (run.variant, "updates")}
