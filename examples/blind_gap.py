"""Print what seeing the images is worth: accuracy of the runs in a folder less that of the baseline that cannot see."""

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev


def read(folder: Path) -> dict[str, float]:
    """Accuracy and its standard error of a run."""
    return json.loads((folder / "accuracy.json").read_text(encoding="utf-8"))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds RUN/accuracy.json and RUN-blind/accuracy.json, a pair a fold")
    args = parser.parse_args()
    blind_runs = sorted(path.parent for path in args.folder.glob("*-blind/accuracy.json"))
    pairs = [(run.with_name(run.name.removesuffix("-blind")), run) for run in blind_runs]
    pairs = [(seeing, blind) for seeing, blind in pairs if (seeing / "accuracy.json").exists()]
    if not pairs:
        parser.error(f"{args.folder} has no pair of RUN/accuracy.json and RUN-blind/accuracy.json")
    gaps, errors = [], []
    print(f"{'per cent':24}{'seeing':>16}{'blind':>16}{'gap':>16}")
    for seeing, blind in pairs:
        one, other = read(seeing), read(blind)
        gaps.append(100 * (one["accuracy"] - other["accuracy"]))
        # Both are judged on the same texts, so that this error of their difference is rather too large.
        errors.append(100 * math.hypot(one["accuracy_se"], other["accuracy_se"]))
        cells = [f"{100 * run['accuracy']:.1f} ± {100 * run['accuracy_se']:.1f}" for run in (one, other)]
        print(f"{seeing.name:24}{cells[0]:>16}{cells[1]:>16}{f'{gaps[-1]:+.1f} ± {errors[-1]:.1f}':>16}")
    within = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    print(f"mean gap {mean(gaps):+.2f}, standard error from the texts {within:.2f}", end="")
    print(f", from the {len(gaps)} folds {stdev(gaps) / math.sqrt(len(gaps)):.2f}" if len(gaps) > 1 else "")


if __name__ == "__main__":
    main()
