"""Run the golden run and store its curves and their picture anew, after a change that is meant to change learning.

python -m tests.golden.write
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.golden.curves import first_difference, read, write
from tests.golden.draw import FIGURE, draw
from tests.golden.run import STORED, make_scenes, train


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.write",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Store the curves of the golden run anew (tests/golden/train.csv, valid.json) and draw them "
        f"({FIGURE.name}).\nTakes a minute. Needs matplotlib (extra: plots).",
        epilog="The commit message says which change of learning is meant, and what it does to the figures of "
        "validation,\nwhich this command prints. See CONTRIBUTING.md, 'The golden run'.",
    )
    parser.parse_args(argv)
    stored = read(STORED) if (STORED / "train.csv").exists() else None
    print("training (90 updates) ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        found = train(make_scenes(Path(folder) / "data-bin"), Path(folder) / "checkpoints")
    draw(found, FIGURE)
    write(found, STORED)
    if stored is not None:
        print(f"first difference: {first_difference(found, stored) or 'none beyond the tolerances'}")
        for name, value in found.valid.items():
            print(f"  {name:<12}{stored.valid.get(name, float('nan')):>10.4f} -> {value:.4f}")
    print(f"wrote {STORED}/train.csv, {STORED}/valid.json and {FIGURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
