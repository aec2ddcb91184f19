"""Recall sums against the share of the photos, with error bars: PNG, and SVG that is the same byte for byte."""

import io
import math
from pathlib import Path
from typing import Any

from .arms import arms_of, mean_over, title
from .content import SCORE_TITLES
from .csv_files import Row
from .grid import Arm
from .settings import LINEAR, StudyError

# Okabe and Ito's colours, which colour-blind readers tell apart; markers differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#F0E442", "#888888")
_MARKERS = "osD^vPX*<"
_PLOTTED = ("zs_itc", "zs_itm_itc", "ft_itm_itc", "probe")


def draw(rows: list[Row], heading: str) -> dict[str, Any]:
    """A figure for each score that was measured on more than one share of the photos.

    Raises:
        StudyError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise StudyError("plots need matplotlib: pip install 'mvlm-plugin[plots]'") from error
    matplotlib.use("Agg")
    figures = {}
    for score in _PLOTTED:
        lines = _lines(rows, score)
        shares = {arm.fraction for line in lines.values() for arm in line if arm.losses != LINEAR}
        if len(shares) > 1:
            figures[score] = _figure(lines, score, heading)
    return figures


def _column(arm: Arm, score: str) -> str:
    """Where an arm's figure stands; the linear baseline has that of ITC alone, beside every score."""
    return "zs_itc_sum" if arm.losses == LINEAR else f"{score}_sum"


def _lines(rows: list[Row], score: str) -> dict[str, dict[Arm, list[Row]]]:
    """Arms that have a score, by title."""
    lines: dict[str, dict[Arm, list[Row]]] = {}
    for arm, found in sorted(arms_of(rows).items(), key=lambda item: item[0].fraction):
        if any(row[_column(arm, score)] for row in found):
            lines.setdefault(title(arm), {})[arm] = found
    return lines


def _figure(lines: dict[str, dict[Arm, list[Row]]], score: str, heading: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shares: set[float] = set()
    for number, (name, arms) in enumerate(lines.items()):
        means = [mean_over(found, _column(arm, score)) for arm, found in arms.items()]
        # Slightly apart, so that error bars do not hide one another.
        x = [arm.fraction * 1.012 ** (number - len(lines) / 2) for arm in arms]
        axes.errorbar(
            x,
            [mean.value for mean in means],
            yerr=[0.0 if math.isnan(mean.error) else mean.error for mean in means],
            label=name,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="--" if "equal compute" in name else "-",
            capsize=3,
            markersize=5,
        )
        shares |= {arm.fraction for arm in arms}
    axes.set_xscale("log")
    axes.set_xticks(sorted(shares), [f"{share:.0%}" for share in sorted(shares)])
    axes.minorticks_off()
    axes.set_xlabel("share of the training images")
    axes.set_ylabel("sum of recall@1/5/10 both ways, per cent")
    axes.set_title(f"{SCORE_TITLES[score]}\n{heading}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def svg_of(figure: Any) -> str:
    """The figure as SVG, without date or random ids."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "study", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def save(figures: dict[str, Any], folder: Path, stem: str) -> list[str]:
    """Write STEM_SCORE.png and .svg; returns the PNGs' names."""
    written = []
    for score, figure in figures.items():
        (folder / f"{stem}_{score}.svg").write_text(svg_of(figure), encoding="utf-8")
        figure.savefig(folder / f"{stem}_{score}.png", dpi=150, metadata={"Software": None})
        written.append(f"{stem}_{score}.png")
    return written
