"""Recall sums, and their differences, against the share of the photos: PNG, and SVG that is the same byte for byte."""

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
# Of a line: colour, marker, and the factor by which it is shifted.
Style = dict[str, Any]
# Of a line: share, value, standard error.
Point = tuple[float, float, float]


def draw(rows: list[Row], differences: list[Row], heading: str) -> dict[str, Any]:
    """A figure for each score that was measured on more than one share of the photos.

    Args:
        rows: of the runs.
        differences: of their arms.
        heading: of each figure.

    Raises:
        StudyError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise StudyError("plots need matplotlib: pip install 'mvlm-plugin[plots]'") from error
    matplotlib.use("Agg")
    figures = {}
    # The same in all figures.
    styles = {name: _style(number) for number, name in enumerate(dict.fromkeys(map(title, arms_of(rows))))}
    for score in _PLOTTED:
        lines = _lines(rows, score)
        shares = {arm.fraction for line in lines.values() for arm in line if arm.losses != LINEAR}
        if len(shares) > 1:
            # Those at equal compute can be large, and are seen among the sums.
            gaps = [row for row in differences if row["score"] == score and row["against_budget"] == row["budget"]]
            figures[score] = _figure(lines, gaps, styles, f"{SCORE_TITLES[score]}\n{heading}", score)
    return figures


def _column(arm: Arm, score: str) -> str:
    """Where an arm's figure stands; the linear baseline has that of ITC alone, beside every score."""
    return "zs_itc_sum" if arm.losses == LINEAR else f"{score}_sum"


def _lines(rows: list[Row], score: str) -> dict[str, dict[Arm, list[Row]]]:
    """Arms that have a score by their line's title, in the order of the rows; those of a line by their share."""
    lines: dict[str, dict[Arm, list[Row]]] = {}
    for arm, found in arms_of(rows).items():
        if any(row[_column(arm, score)] for row in found):
            lines.setdefault(title(arm), {})[arm] = found
    return {name: dict(sorted(line.items(), key=lambda item: item[0].fraction)) for name, line in lines.items()}


def _figure(
    lines: dict[str, dict[Arm, list[Row]]], gaps: list[Row], styles: dict[str, Style], heading: str, score: str
) -> Any:
    """Recall sums on the left, their differences at equal updates on the right where there are any."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6 if gaps else 7.2, 4.6), layout="constrained")
    figure.suptitle(heading, fontsize=10)
    panels = figure.subplots(1, 2 if gaps else 1, squeeze=False, sharex=True)[0]
    for name, arms in lines.items():
        means = [mean_over(found, _column(arm, score)) for arm, found in arms.items()]
        points = [(arm.fraction, mean.value, mean.error) for arm, mean in zip(arms, means, strict=True)]
        _plot(panels[0], name, points, styles[name])
    shares = sorted({arm.fraction for arms in lines.values() for arm in arms})
    _finish(panels[0], "sum of recall@1/5/10 both ways, per cent", shares)
    if gaps:
        for name, points in _gaps(gaps).items():
            _plot(panels[1], name, points, styles[name])
        panels[1].axhline(0, color="#444", linewidth=0.8)
        reference = title(Arm(gaps[0]["against"], 1.0, "default", "updates"))
        label = f"difference from {reference}, points\n(equal updates, paired, ± standard error over seeds)"
        _finish(panels[1], label, shares)
    return figure


def _style(number: int) -> Style:
    """Colour, marker and place of a line: slightly apart, so that error bars do not hide one another."""
    kind = number % len(_COLOURS)
    return {"color": _COLOURS[kind], "marker": _MARKERS[kind], "shift": 1.012 ** (number - len(_COLOURS) / 2)}


def _gaps(rows: list[Row]) -> dict[str, list[Point]]:
    """Differences as points, by their line's title."""
    lines: dict[str, list[Point]] = {}
    for row in sorted(rows, key=lambda row: float(row["fraction"])):
        arm = Arm(row["losses"], float(row["fraction"]), row["variant"], row["budget"])
        error = float(row["se_seeds"]) if row["se_seeds"] else math.nan
        lines.setdefault(title(arm), []).append((arm.fraction, float(row["difference"]), error))
    return lines


def _plot(axes: Any, name: str, points: list[Point], style: Style) -> None:
    """A line; errors that are nan are left out."""
    shares, values, errors = zip(*points, strict=True)
    axes.errorbar(
        [share * style["shift"] for share in shares],
        values,
        yerr=[0.0 if math.isnan(error) else error for error in errors],
        label=name,
        color=style["color"],
        marker=style["marker"],
        linestyle="--" if "equal compute" in name else "-",
        capsize=3,
        markersize=5,
    )


def _finish(axes: Any, label: str, ticks: list[float]) -> None:
    """Axes, grid and legend."""
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{share:.0%}" for share in ticks])
    axes.minorticks_off()
    axes.set_xlabel("share of the training images")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


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
