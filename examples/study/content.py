"""What a report says, as tables of text: the same for Markdown and for the page."""

from collections.abc import Sequence
from typing import NamedTuple

from .arms import arms_of, mean_over, title
from .csv_files import RECALLS, Row
from .grid import Arm

SCORE_TITLES = {
    "zs_itc": "zero-shot, ITC",
    "zs_itm": "zero-shot, re-ranked by ITM",
    "zs_itm_itc": "zero-shot, ITM + ITC",
    "ft_itc": "fine-tuned, ITC",
    "ft_itm": "fine-tuned, re-ranked by ITM",
    "ft_itm_itc": "fine-tuned, ITM + ITC",
    "probe": "linear probe",
}


class Table(NamedTuple):
    """A heading, a sentence, the columns and the rows."""

    heading: str
    note: str
    columns: Sequence[str]
    rows: list[list[str]]


def tables_of(rows: list[Row], differences: list[Row]) -> list[Table]:
    """The report's tables; those for which nothing was measured are left out."""
    arms = sorted(arms_of(rows).items(), key=lambda item: item[0].fraction)
    tables = [_differences(differences), _sums(arms), *_recalls(arms), _gains(arms), _cost(arms)]
    return [table for table in tables if table.rows]


def _start(arm: Arm, rows: Sequence[Row]) -> list[str]:
    return [f"{arm.fraction:.0%}", title(arm), str(len(rows))]


def _differences(differences: list[Row]) -> Table:
    rows = []
    for row in sorted(differences, key=lambda row: (float(row["fraction"]), row["against_budget"])):
        pair = [
            Arm(row[name], float(row["fraction"]), row["variant"], row[budget])
            for name, budget in (("losses", "budget"), ("against", "against_budget"))
        ]
        value = float(row["difference"])
        rows.append(
            [
                f"{float(row['fraction']):.0%}", " against ".join(map(title, pair)), SCORE_TITLES[row["score"]],
                row["seeds"], f"{value:+.1f}", f"{float(row['se_seeds']):.1f}" if row["se_seeds"] else "",
                f"{float(row['se_queries']):.1f}" if row["se_queries"] else "",
            ]
        )  # fmt: skip
    note = (
        "Difference of the sums of recall@1/5/10 both ways, in points, and its standard error: paired over seeds (same "
        "photos, same seed), and paired over the queries of the held-out split (mean over seeds, clustered by image)."
    )
    columns = ("photos", "losses", "score", "seeds", "difference", "se, seeds", "se, queries")
    return Table("Losses against one another", note, columns, rows)


def _sums(arms: list[tuple[Arm, list[Row]]]) -> Table:
    scores = [score for score in SCORE_TITLES if any(row[f"{score}_sum"] for _, rows in arms for row in rows)]
    rows = [
        [*_start(arm, found), *(mean_over(found, f"{score}_sum").text() for score in scores)] for arm, found in arms
    ]
    note = "Sum of recall@1/5/10 both ways, in points of at most 600: mean over seeds ± standard error."
    columns = ("photos", "losses", "seeds", *(SCORE_TITLES[score] for score in scores))
    return Table("Sums of recalls", note, columns, rows if scores else [])


def _recalls(arms: list[tuple[Arm, list[Row]]]) -> list[Table]:
    tables = []
    columns = ("photos", "losses", "seeds", *(name.replace("_r", " R@") for name in RECALLS))
    for score, name in SCORE_TITLES.items():
        measured = [(arm, found) for arm, found in arms if any(row[f"{score}_sum"] for row in found)]
        rows = [
            [*_start(arm, found), *(mean_over(found, f"{score}_{recall}").text() for recall in RECALLS)]
            for arm, found in measured
        ]
        tables.append(Table(f"Recalls: {name}", "Per cent, mean over seeds ± standard error.", columns, rows))
    return tables


def _gains(arms: list[tuple[Arm, list[Row]]]) -> Table:
    rows = [
        [
            *_start(arm, found),
            mean_over(found, "mlm_loss").text(3),
            mean_over(found, "mlm_gain").text(3),
            mean_over(found, "mim_loss").text(3),
            mean_over(found, "mim_gain").text(4),
        ]
        for arm, found in arms
        if any(row["mlm_gain"] or row["mim_gain"] for row in found)
    ]
    note = "Gain: loss with another pair's image (caption) minus with the own: above zero, the other modality is used."
    columns = (
        "photos",
        "losses",
        "seeds",
        "MLM loss, nats a masked word",
        "gain",
        "MIM loss, normalised pixels",
        "gain",
    )
    return Table("Masked losses and conditioning gains", note, columns, rows)


def _cost(arms: list[tuple[Arm, list[Row]]]) -> Table:
    rows = [
        [
            *_start(arm, found), mean_over(found, "updates").text(0), mean_over(found, "pretrain_cpu_seconds").text(0),
            mean_over(found, "cpu_seconds").text(0),
        ]
        for arm, found in arms
    ]  # fmt: skip
    note = "CPU seconds of pre-training, start included, and of all stages together."
    return Table("Cost", note, ("photos", "losses", "seeds", "updates", "pre-training", "all stages"), rows)
