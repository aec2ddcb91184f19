"""Print what seeing the images is worth: scores of the runs in a folder less those of the baseline that cannot see.

Both runs of a fold are judged on the same texts. The standard error of a gap is that of the mean of the differences,
text by text, where texts that share an image or a sentence count together (one cluster).
"""

import argparse
import csv
import math
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import torch

from mvlm_plugin.evaluation.pair_table import mean_and_error


class Judgement(NamedTuple):
    """What a text scored, and the cluster that it belongs to."""

    cluster: int
    score: float


def read(folder: Path) -> dict[str, Judgement]:
    """The scores of a run's texts, as mvlm-eval --judgements wrote them."""
    with open(folder / "judgements.csv", encoding="utf-8", newline="") as file:
        return {row["text"]: Judgement(int(row["cluster"]), float(row["score"])) for row in csv.DictReader(file)}


def gap(seeing: dict[str, Judgement], blind: dict[str, Judgement]) -> tuple[float, float]:
    """Mean difference of the scores and its standard error.

    Raises:
        ValueError: the runs were judged on different texts.
    """
    if seeing.keys() != blind.keys():
        raise ValueError("the runs were judged on different texts; give both the same fold")
    differences = torch.tensor([one.score - blind[text].score for text, one in seeing.items()], dtype=torch.float64)
    clusters = torch.tensor([one.cluster for one in seeing.values()])
    return mean_and_error(differences, clusters)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds a pair RUN/judgements.csv, RUN-blind/judgements.csv a fold")
    args = parser.parse_args()
    blind_runs = sorted(path.parent for path in args.folder.glob("*-blind/judgements.csv"))
    pairs = [(run.with_name(run.name.removesuffix("-blind")), run) for run in blind_runs]
    pairs = [(seeing, blind) for seeing, blind in pairs if (seeing / "judgements.csv").exists()]
    if not pairs:
        parser.error(f"{args.folder} has no pair of RUN/judgements.csv and RUN-blind/judgements.csv")
    gaps, errors = [], []
    print(f"{'per cent':24}{'texts':>8}{'seeing':>10}{'blind':>10}{'gap':>16}")
    for seeing, blind in pairs:
        one, other = read(seeing), read(blind)
        difference, error = gap(one, other)
        gaps.append(100 * difference)
        errors.append(100 * error)
        cells = [f"{100 * mean(row.score for row in run.values()):.1f}" for run in (one, other)]
        shown = f"{gaps[-1]:+.1f} ± {errors[-1]:.1f}"
        print(f"{seeing.name:24}{len(one):8}{cells[0]:>10}{cells[1]:>10}{shown:>16}")
    within = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    print(f"mean gap {mean(gaps):+.2f}, standard error from the texts {within:.2f}", end="")
    print(f", from the {len(gaps)} folds {stdev(gaps) / math.sqrt(len(gaps)):.2f}" if len(gaps) > 1 else "")


if __name__ == "__main__":
    main()
