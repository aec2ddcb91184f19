"""``python -m examples.study``: run a grid of trainings, and report it. Start it from the checkout."""

import argparse
import shlex
import sys
from pathlib import Path

from mvlm_plugin.data.databin import DataBinError

from .budget import updates_of
from .commands import finetuning, installed, measuring, pretraining
from .grid import Run
from .launchers import LAUNCHERS, run_locally, run_on_ray, submit_to_slurm
from .plan import DEFAULT_OUT, Plan, make_plan, open_runs
from .report import RESULTS, collect, draw
from .settings import LINEAR, StudyError, names, read_settings, settings_path
from .stages import execute
from .table import rows_of

_PROGRAM = "python -m examples.study"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Run a grid of trainings (losses x share of the data x seed x variants), resume what is missing, "
        "and report it as a table, plots and a page.",
        epilog=f"example:\n  {_PROGRAM} run flickr8k_lite --data data-bin/flickr8k --jobs 2\n"
        f"  {_PROGRAM} report flickr8k_lite --data data-bin/flickr8k",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="make the runs that are missing")
    _add_study(run)
    run.add_argument("--only", nargs="+", default=[], metavar="KEY=VALUES", help="e.g. fraction=0.25 losses=itc,all")
    run.add_argument("--launcher", choices=LAUNCHERS, default="local", help="where (default: %(default)s)")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    run.add_argument("--gpus-per-run", type=float, default=0.0, metavar="N", help="of a Ray task (default: 0)")
    run.add_argument(
        "--slurm-options", default="", metavar="S", help="of sbatch: --slurm-options='--gpus=8 --time=12:00:00'"
    )
    run.add_argument("--keep-checkpoints", action="store_true", help="do not delete them after measuring")
    run.add_argument("--dry-run", action="store_true", help="print the missing runs and their commands only")
    one = commands.add_parser("one", help="make one run; what the launchers start")
    _add_study(one)
    one.add_argument("--run", required=True, metavar="ID", help="id that run --dry-run prints")
    one.add_argument("--keep-checkpoints", action="store_true", help="do not delete them after measuring")
    report = commands.add_parser("report", help="write table, plots and page of the runs that are done")
    _add_study(report)
    report.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="folder to write to (default: results/ beside this)",
    )
    report.add_argument("--redraw", action="store_true", help="from the CSV files there alone, without runs or data")
    commands.add_parser("list", help="print the studies that are there by name")
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="name of a study (see list), or a .yaml file")
    parser.add_argument("--data", default="", metavar="DATABIN", help="in place of the settings' data")
    parser.add_argument("--eval-data", default="", metavar="DATABIN", help="in place of the settings' eval_data")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="folder for runs (default: %(default)s)"
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="CSV",
        help="table that report wrote of runs made elsewhere on the same data: they are not made again, and stand in "
        "the report beside those made here",
    )


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit code: 1 where a run failed, 2 where the study cannot be run, 130 if interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt:
        print(f"{_PROGRAM}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    except (StudyError, DataBinError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 2


def _list(arguments: argparse.Namespace) -> int:
    for name in names():
        print(f"{name:20}{read_settings(settings_path(name)).title}")
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    return make_plan(arguments.study, arguments.data, arguments.eval_data, arguments.out, arguments.known)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.jobs < 1:
        raise StudyError("--jobs must be at least 1")
    plan = _plan(arguments)
    runs = open_runs(plan, arguments.only)
    print(f"{plan.name}: {len(plan.runs)} runs, {len(runs)} to make, in {plan.out}")
    if arguments.dry_run:
        _show(plan, runs)
        return 0
    if not runs:
        return 0
    more = ["--keep-checkpoints"] if arguments.keep_checkpoints else []
    more += ["--known", str(arguments.known.resolve())] if arguments.known else []
    phases = [
        [_one(plan, run) + more for run in runs if (run.budget == "compute") == is_compute]
        for is_compute in (False, True)
    ]
    if arguments.launcher == "slurm":
        phases = [phase for phase in phases if phase]
        arrays = submit_to_slurm(phases, plan.out / "slurm", arguments.jobs, arguments.slurm_options)
        print(f"submitted {len(runs)} runs as {', '.join(arrays)}; logs in {plan.out / 'slurm'}")
        return 0
    if arguments.launcher == "ray":
        resources = {"num_cpus": 1, "num_gpus": arguments.gpus_per_run}
        failures = sum(run_on_ray(phase, arguments.jobs, resources) for phase in phases if phase)
    else:
        failures = run_locally([_one(plan, run) + more for run in runs], arguments.jobs)
    if failures:
        print(
            f"{failures} of {len(runs)} runs were not made: see failed.json in their folders of {plan.out}",
            file=sys.stderr,
        )
    return 1 if failures else 0


def _one(plan: Plan, run: Run) -> list[str]:
    """The command that makes one run."""
    return [
        sys.executable, "-m", "examples.study", "one", str(plan.path.resolve()), "--run", plan.id(run), "--data",
        plan.data, "--eval-data", plan.eval_data, "--out", str(plan.out.parent),
    ]  # fmt: skip


def _show(plan: Plan, runs: list[Run]) -> None:
    for run in runs:
        places = plan.shown_places(run)
        print(f"\n{plan.id(run)}  {run.name}")
        if run.losses != LINEAR:
            print(shlex.join(pretraining(run, places, int(run.train["max-update"]))))
        print(shlex.join(measuring(run, places, False, places.folder / "zero_shot.json")))
        if run.finetune:
            print(shlex.join(finetuning(run, places)))
            print(shlex.join(measuring(run, places, True, places.folder / "finetuned.json")))


def _make_one(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    found = [run for run in plan.runs if plan.id(run) == arguments.run]
    if not found:
        raise StudyError(f"no run {arguments.run} in {plan.name} on these data; settings or data have changed")
    run = found[0]
    updates = updates_of(run, plan.folder(run), plan.settings.full, rows_of(plan))
    is_made = execute(run, installed(plan.places(run)), plan.data_id, updates, arguments.keep_checkpoints)
    return 0 if is_made else 1


def _report(arguments: argparse.Namespace) -> int:
    if not arguments.redraw:
        plan = _plan(arguments)
        print(f"{collect(plan, arguments.results)} of {len(plan.runs)} runs are done")
    path = settings_path(arguments.study)
    for file in draw(path.stem, read_settings(path).title, arguments.results):
        print(file)
    return 0


_COMMANDS = {"run": _run, "one": _make_one, "report": _report, "list": _list}

if __name__ == "__main__":
    sys.exit(main())
