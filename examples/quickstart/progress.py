"""Turn fairseq's JSON log on standard input into a progress bar; print the log's end if training fails.

Usage: fairseq-train ... --log-format json 2>&1 | python progress.py --updates 350
"""

import argparse
import collections
import json
import sys

from tqdm import tqdm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, required=True, help="updates that training is to make")
    updates = parser.parse_args().updates
    last_lines: collections.deque[str] = collections.deque(maxlen=30)
    finished = False
    with tqdm(total=updates, unit="update", file=sys.stdout) as bar:
        for line in sys.stdin:
            last_lines.append(line)
            finished = finished or "done training" in line
            if "| train_inner | {" not in line:
                continue
            figures = json.loads(line[line.index("{") :])
            bar.update(int(figures["num_updates"]) - bar.n)
            bar.set_postfix({key: f"{float(figures[key]):.3f}" for key in ("loss", "mlm_acc", "itc_acc", "itm_acc")})
    if not finished:
        sys.stdout.writelines(last_lines)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
