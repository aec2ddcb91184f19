"""Runs parts: in processes of this machine, or on a Ray cluster whose machines share the folder of unfinished work."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from .parallel import WorkerDied, progress_bar, run_units
from .part import PartJob, run_part
from .records import PrepError

DISTRIBUTORS = ("local", "ray")


def run_parts(job: PartJob, numbers: list[int], images: int | None, workers: int, distributor: str) -> None:
    """Make parts; those that are there already stay.

    Args:
        job: what all parts have in common.
        numbers: of the parts.
        images: in these parts, for the progress bar; None where it is not known.
        workers: processes; on a Ray cluster the most tasks at a time.
        distributor: one of DISTRIBUTORS.

    Raises:
        PrepError: a worker died, or Ray is not installed. What a part raises is raised here.
    """
    if distributor == "ray":
        _run_on_ray(job, numbers, workers)
        return
    with progress_bar(images, "read images", "image") as bar:
        run_units(partial(run_part, job), numbers, workers, bar)


def _run_on_ray(job: PartJob, numbers: list[int], workers: int) -> None:
    try:
        import ray
    except ImportError as error:
        raise PrepError("--distributor ray needs Ray: pip install 'mvlm-plugin[ray]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    try:
        task: Any = ray.remote(run_part)
        shared = ray.put(job)
        waiting: Iterator[int] = iter(numbers)
        running = [task.remote(shared, number) for number in islice(waiting, workers)]
        with progress_bar(len(numbers), "read images on Ray", "part") as bar:
            while running:
                finished, running = ray.wait(running)
                ray.get(finished)
                bar.update(len(finished))
                running += [task.remote(shared, number) for number in islice(waiting, len(finished))]
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise WorkerDied(f"Ray lost a task ({error}). The same command goes on with what is not done yet") from error
    finally:
        if started:
            ray.shutdown()
