"""``mvlm-prep merge``: joins the shards that the jobs of an array made."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from .destination import is_prepared
from .options import add_workers_option
from .prepare import finish
from .records import PrepError
from .report import print_manifest
from .tools import Tool
from .work import WorkFolder


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs", type=Path, nargs="+", metavar="DEST",
        help="the --dest of the jobs that ran with --shard-range: one that they shared, or several",
    )  # fmt: skip
    parser.add_argument("--dest", type=Path, metavar="DIR", help="data-bin to write (default: the first DEST)")
    parser.add_argument(
        "--single",
        action="store_true",
        help="write one data-bin instead of one a shard",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a data-bin that is there already")
    add_workers_option(parser)


def _run(args: argparse.Namespace) -> int:
    works = [WorkFolder(path) for path in dict.fromkeys(path.resolve() for path in args.jobs)]
    dest = (args.dest or args.jobs[0]).resolve()
    is_prepared(dest, {}, overwrite=True)
    if dest.exists() and not args.overwrite:
        raise PrepError(f"{dest} is there already: give --overwrite to replace it, or another --dest")
    for work in works:
        work.load_job()
    with ExitStack() as locks:
        for work in works:
            locks.enter_context(work.locked(shared=False))
        jobs = [work.load_job() for work in works]
        if any(job.request != jobs[0].request for job in jobs):
            raise PrepError("the jobs ran with different options or source files: run them again alike")
        shards = 1 if args.single else jobs[0].shards
        dest.parent.mkdir(parents=True, exist_ok=True)
        manifest = finish(works, jobs[0], shards, dest, args.workers, args.overwrite)
    print_manifest(str(dest), manifest)
    return 0


TOOL = Tool(
    "merge", "Join the shards that jobs with --shard-range made, and write the data-bin.",
    "mvlm-prep merge data/cc3m", _add_options, _run,
)  # fmt: skip
