"""Print what fairseq-validate wrote as a short table. Usage: python table.py validate.log"""

import json
import sys
from pathlib import Path

ROWS = (
    ("masked words predicted right", "mlm_acc", ""),
    ("  loss saved by the right image (nats)", "mlm_gain", "mlm_gain_se"),
    ("masked pixels, L1 (normalised units)", "mim_loss", ""),
    ("  loss saved by the right caption", "mim_gain", "mim_gain_se"),
    ("matched or not, right", "itm_acc", ""),
    ("caption finds its image first (R@1)", "t2i_r1", ""),
    ("  among the first ten (R@10)", "t2i_r10", ""),
    ("image finds its caption first (R@1)", "i2t_r1", ""),
    ("  among the first ten (R@10)", "i2t_r10", ""),
)


def figures_of(log: str) -> dict[str, float]:
    """The last JSON object of a fairseq log that holds validation figures, without the subset's name.

    Raises:
        ValueError: there is none.
    """
    for line in reversed(log.splitlines()):
        start = line.find("{")
        if start >= 0 and "_mlm_gain" in line:
            return {key.split("_", 1)[1]: float(value) for key, value in json.loads(line[start:]).items()}
    raise ValueError("no validation figures in this log")


def main() -> int:
    figures = figures_of(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(f"\non {figures['pairs']:.0f} unseen pairs")
    for title, key, error in ROWS:
        spread = f" ± {figures[error]:.4f}" if error else ""
        print(f"  {title:<42}{figures[key]:8.4f}{spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
