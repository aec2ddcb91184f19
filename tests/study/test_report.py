"""The report of runs that are there: differences, tables, plots and page, from the CSV files alone."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from examples.study import plots, report, table
from examples.study.csv_files import DIFFERENCE_COLUMNS, RECALLS, RUN_COLUMNS, read_csv, read_known
from examples.study.differences import differences_of
from examples.study.grid import runs_of
from examples.study.plan import Plan, open_runs
from examples.study.settings import StudyError
from tests.study.studies import small_settings

_VOID = {"meta", "br", "img", "path", "use", "rect", "stop"}


class Reader(HTMLParser):
    """Fails where tags are not balanced; keeps the names, the text and the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.seen.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _write(plan: Plan) -> None:
    """Results of all runs but the linear one; recall sums 100 * seed + 10, and 7 more for the four losses."""
    for run in plan.runs:
        if run.losses == "linear":
            continue
        folder = plan.folder(run)
        folder.mkdir(parents=True)
        gain = (0.05 + 0.02 * run.seed) if run.losses == "all" else 0.0
        figures = dict.fromkeys(RECALLS, 0.1) | {"sum": run.seed + 0.1 + gain, "sum_se": 0.02}
        stages = {"pretrain": {"cpu_seconds": 10.5, "attempts": 1}, "zero_shot": {"cpu_seconds": 2.0, "attempts": 1}}
        made_with = {"revision": "abc", "packages": {"torch": "2"}}
        zero_shot = {"itc": figures, "gains": {"pairs": 64, "mlm_loss": 3.0, "mlm_gain": 0.5, "mlm_gain_se": 0.01}}
        result = {"data": "print", "updates": 3, "stages": stages, "made_with": made_with, "zero_shot": zero_shot}
        (folder / "result.json").write_text(json.dumps(result))
        influence = np.array([0.3, -0.1, -0.2]) * (1 if run.losses == "all" else 0)
        np.savez(folder / "zero_shot.npz", itc_sum=influence)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A study of two shares that is done but for its linear baseline."""
    blocks = [{"losses": ["itc_itm", "all", "linear"], "fraction": [0.25, 1.0], "seed": [1, 2]}]
    blocks += [{"losses": ["itc_itm"], "fraction": [0.25], "seed": [1, 2], "budget": "compute"}]
    settings = small_settings(tmp_path, runs=blocks, title="small <script>alert(1)</script> | study")
    path, out = tmp_path / "small.yaml", tmp_path / "out"
    plan = Plan("small", path, settings, runs_of(settings), "d", "d", "print", out, read_known(None))
    _write(plan)
    return plan


def test_rows_and_differences_by_hand(plan: Plan) -> None:
    rows = table.rows_of(plan)
    assert len(rows) == 10
    first = rows[0]
    assert (first["losses"], first["zs_itc_sum"], first["zs_itc_i2t_r1"]) == ("itc_itm", "110.0", "10.0")
    assert (first["cpu_seconds"], first["mlm_gain"], first["probe_sum"], first["zs_itm_sum"]) == ("12.5", "0.5", "", "")
    assert "--data-fraction 0.25" in first["command"]
    assert "data-bin/scenes" in first["command"]
    assert str(plan.out) not in first["command"]
    found = differences_of(plan, rows)
    assert [(row["fraction"], row["against"], row["against_budget"]) for row in found] == [
        ("0.25", "itc_itm", "updates"), ("1.0", "itc_itm", "updates"), ("0.25", "itc_itm", "compute"),
    ]  # fmt: skip
    # Seeds: 7 and 9 points. Queries: sums of squares 0.14, times 3 / 2.
    assert (float(found[0]["difference"]), float(found[0]["se_seeds"])) == pytest.approx((8.0, 1.0))
    assert float(found[0]["se_queries"]) == pytest.approx(100 * (0.14 * 1.5) ** 0.5, abs=1e-3)


def test_the_report_is_whole_escaped_and_the_same_twice(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    assert report.collect(plan, folder) == 10
    files = report.draw("small", plan.settings.title, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert set(files) <= set(before)
    assert {path.suffix for path in before} == {".csv", ".md", ".html", ".png", ".svg"}
    report.draw("small", plan.settings.title, folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    for path in folder.glob("*.svg"):
        ElementTree.parse(path)

    reader = Reader()
    reader.feed((folder / "small.html").read_text())
    assert reader.open == []
    assert "script" not in reader.seen
    assert "svg" in reader.seen
    assert reader.seen.count("details") == 10
    assert len(set(reader.ids)) == len(reader.ids)
    for text in ("<script>alert(1)</script>", "+8.0", "fairseq-train data-bin/scenes", "print", "abc", "110.0"):
        assert text in reader.text
    lines = (folder / "small.md").read_text().splitlines()
    assert any("+8.0 | 1.0 | 45.8 |" in line for line in lines)
    assert "script" not in "".join(lines[:1]).replace("&lt;script", "").replace("&lt;/script", "")


def test_plots_show_sums_and_their_differences(plan: Plan) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib (extra: plots) is not installed")
    rows = table.rows_of(plan)
    figure = plots.draw(rows, differences_of(plan, rows), "small")["zs_itc"]
    panels = [{drawn.get_label(): drawn.lines[0] for drawn in axes.containers} for axes in figure.axes]
    sums, differences = ({name: list(line.get_ydata()) for name, line in panel.items()} for panel in panels)
    # Means of two seeds: 110 and 210, and with the four losses 7 and 9 more.
    assert sums["itc + itm"] == pytest.approx([160, 160])
    assert sums["all"] == pytest.approx([168, 168])
    assert sums["itc + itm, equal compute"] == pytest.approx([160])
    # At equal updates alone.
    assert set(differences) == {"all"}
    assert differences["all"] == pytest.approx([8, 8])
    assert "difference from itc + itm, points" in figure.axes[1].get_ylabel()
    assert panels[1]["all"].get_color() == panels[0]["all"].get_color()
    assert len({line.get_color() for line in panels[0].values()}) == 3
    no_differences = plots.draw(rows, [], "small")["zs_itc"]
    assert len(no_differences.axes) == 1


def test_a_table_that_is_missing_or_of_another_version_is_named(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"small\.csv is not there"):
        report.draw("small", "", tmp_path)
    (tmp_path / "small.csv").write_text("id,losses\n")
    with pytest.raises(StudyError, match="lacks the columns"):
        report.draw("small", "", tmp_path)
    with pytest.raises(StudyError, match="no run of small is done"):
        report.collect(replace(plan, out=tmp_path / "elsewhere"), tmp_path)


def _forget(plan: Plan, seed: int, budget: str = "updates") -> None:
    """As if the runs of a seed had been made elsewhere."""
    for run in plan.runs:
        if (run.seed, run.budget) == (seed, budget):
            shutil.rmtree(plan.folder(run), ignore_errors=True)


def test_runs_made_elsewhere_stand_beside_those_made_here(plan: Plan, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    report.collect(plan, whole)
    every_row = read_csv(whole / "small.csv", RUN_COLUMNS)
    # Elsewhere: seed 1 of all. Here: seed 2 of all.
    elsewhere = replace(plan, runs=[run for run in plan.runs if run.seed == 1])
    report.collect(elsewhere, tmp_path / "elsewhere")
    _forget(plan, 1)
    _forget(plan, 1, "compute")
    both = replace(plan, known=read_known(tmp_path / "elsewhere" / "small.csv"))
    assert len(both.known.rows) == 5
    assert open_runs(both, []) == [run for run in plan.runs if run.losses == "linear"]
    assert len(open_runs(plan, [])) == 5 + 4
    joined = tmp_path / "joined"
    assert report.collect(both, joined) == 10
    assert read_csv(joined / "small.csv", RUN_COLUMNS) == every_row
    rows = {name: read_csv(name / "small.differences.csv", DIFFERENCE_COLUMNS) for name in (whole, joined)}
    # What each image moved is known of the runs made here alone.
    assert [row["se_queries"] for row in rows[joined]] == ["", "", ""]
    assert [row | {"se_queries": ""} for row in rows[whole]] == rows[joined]
    report.draw("small", plan.settings.title, joined)
    assert "| +8.0 | 1.0 |  |" in (joined / "small.md").read_text()


def test_an_error_over_queries_stands_while_it_is_of_the_same_runs(plan: Plan, tmp_path: Path) -> None:
    report.collect(plan, tmp_path)
    known = read_known(tmp_path / "small.csv")
    before = read_csv(tmp_path / "small.differences.csv", DIFFERENCE_COLUMNS)
    assert all(row["se_queries"] for row in before)
    _forget(plan, 1)
    report.collect(replace(plan, known=known), tmp_path)
    assert read_csv(tmp_path / "small.differences.csv", DIFFERENCE_COLUMNS) == before


def test_runs_of_another_study_or_without_their_differences_are_not_known(plan: Plan, tmp_path: Path) -> None:
    report.collect(plan, tmp_path)
    known = read_known(tmp_path / "small.csv")
    other = replace(plan, data_id="other photos", out=tmp_path / "none", known=known)
    assert len(open_runs(other, [])) == len(plan.runs)
    with pytest.raises(StudyError, match="no run of small is done"):
        report.collect(other, tmp_path)
    (tmp_path / "small.differences.csv").unlink()
    with pytest.raises(StudyError, match=r"small\.differences\.csv is not there"):
        read_known(tmp_path / "small.csv")


def test_an_interrupted_run_has_no_cost(plan: Plan) -> None:
    path = plan.folder(plan.runs[0]) / "result.json"
    result = json.loads(path.read_text())
    result["stages"]["pretrain"]["attempts"] = 2
    path.write_text(json.dumps(result))
    first, second = table.rows_of(plan)[:2]
    assert (first["pretrain_cpu_seconds"], first["cpu_seconds"]) == ("", "")
    assert (second["pretrain_cpu_seconds"], second["cpu_seconds"]) == ("10.5", "12.5")
