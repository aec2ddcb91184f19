"""The stored curves as a picture for docs/training.md. Needs matplotlib (extra: plots)."""

import math
from pathlib import Path

from examples.study.plots import svg_of
from tests.cli.commands import ROOT
from tests.golden.curves import Curves
from tests.golden.run import BATCH

FIGURE = ROOT / "docs" / "figures" / "golden_run.svg"
# Title, and what a model has that has learned nothing of the pair; see docs/training.md.
PANELS = {
    "mlm_loss": ("MLM: masked words (nats)", math.log(64), "any token alike: ln 64"),
    "mim_loss": ("MIM: masked pixels (L1, normalised)", 1.0, "about 1"),
    "itc_loss": ("ITC: contrastive (nats)", math.log(BATCH), f"any partner alike: ln {BATCH}"),
    "itm_loss": ("ITM: matched or not (nats)", math.log(3) - 2 / 3 * math.log(2), '"no" two times in three: 0.637'),
}


def draw(curves: Curves, path: Path) -> None:
    """Write a picture of four losses, each with its level without learning, as SVG; the same bytes every time.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("drawing needs matplotlib: pip install 'mvlm-plugin[plots]'") from None
    figure = Figure(figsize=(9, 5), layout="constrained")
    for axes, (name, (title, level, label)) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        values = curves.train[name]
        axes.plot(range(1, len(values) + 1), values, color="#2455a4", linewidth=1.5)
        axes.axhline(level, color="#888", linestyle="--", linewidth=1)
        axes.text(len(values), level, label, ha="right", va="bottom", fontsize=8, color="#555")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("update", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0)
    path.write_text(svg_of(figure), encoding="utf-8")
