"""Which runs a study has, in which order, and what makes two of them the same."""

from pathlib import Path

import pytest

from examples.study.grid import chosen, runs_of
from examples.study.settings import StudyError, names, read_settings, settings_path
from tests.study.studies import one_run, small_settings


def test_runs_follow_the_blocks_and_pair_the_losses_of_a_seed(tmp_path: Path) -> None:
    runs = runs_of(small_settings(tmp_path))
    assert [(run.losses, run.seed, run.budget) for run in runs] == [
        ("itc_itm", 1, "updates"), ("all", 1, "updates"), ("itc_itm", 2, "updates"), ("all", 2, "updates"),
        ("linear", 1, "updates"), ("itc_itm", 1, "compute"), ("itc_itm", 2, "compute"),
    ]  # fmt: skip
    assert runs[0].weights == {"itc": 1.0, "itm": 1.0}
    assert runs[4].weights == {}
    assert runs[4].measure["arch"] == "mvlm_tiny"


def test_a_run_of_two_blocks_comes_once_and_must_not_differ(tmp_path: Path) -> None:
    block = {"losses": ["all"], "seed": [1]}
    assert len(runs_of(small_settings(tmp_path, runs=[block, {**block, "seed": [1, 2]}]))) == 2
    with pytest.raises(StudyError, match="differ in finetune for the run all, 100%, seed 1"):
        runs_of(small_settings(tmp_path, runs=[block, {**block, "finetune": True}]))


def test_ids_are_of_the_settings_and_the_data(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    # If this number changes, every study that exists would be run again.
    assert run.id("data") == "3bad187370b2"
    assert one_run(tmp_path).id("data") == run.id("data")
    others = [
        one_run(tmp_path, seed=[2]), one_run(tmp_path, fraction=[0.5]), one_run(tmp_path, losses=["itc"]),
        one_run(tmp_path, variant=["both"]), one_run(tmp_path, budget="compute"), one_run(tmp_path, finetune=True),
    ]  # fmt: skip
    assert len({run.id("data"), run.id("other data"), *(other.id("data") for other in others)}) == 2 + len(others)


def test_only_chooses_by_all_conditions(tmp_path: Path) -> None:
    runs = runs_of(small_settings(tmp_path))
    found = chosen(runs, ["losses=all,linear", "seed=1", "fraction=0.25"])
    assert [run.losses for run in found] == ["all", "linear"]
    for wrong, message in (("loss=all", "KEY=VALUE"), ("seed=one", "is a number"), ("fraction=0.3", "no run fits")):
        with pytest.raises(StudyError, match=message):
            chosen(runs, [wrong])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": [{"losses": ["alll"]}]}, r"runs\[0\].losses: unknown alll; choose from all, itc"),
        ({"runs": [{"losses": ["all"], "fraction": [0.0]}]}, "above 0"),
        ({"runs": [{"losses": ["all"], "budget": "hours"}]}, "none of updates, compute"),
        ({"runs": [{"losses": ["all"], "seeds": [1]}]}, "seeds"),
        ({"losses": {"all": {"mlmm": 1}}}, "losses.all"),
        ({"losses": {"all": {"mlm": 0}}}, "positive weights"),
        ({"colour": "red"}, "colour"),
        ({"full": "everything", "runs": [{"losses": ["all"], "budget": "compute"}]}, "full: everything"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        small_settings(tmp_path, **changes)


def test_missing_files_and_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="flickr8k_lite"):
        settings_path("nothing")
    (tmp_path / "a.yaml").write_text("title: a\n")
    with pytest.raises(StudyError, match="lacks data, losses, runs, train"):
        read_settings(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("title: [\n")
    with pytest.raises(StudyError, match=r"a\.yaml"):
        read_settings(tmp_path / "a.yaml")


def test_our_studies_begin_with_the_main_question() -> None:
    ours = {"flickr8k_lite", "flickr8k_mim", "flickr8k_scratch"}
    assert set(names()) == ours | {"limited_data", "table5", "table6", "table7"}
    runs = runs_of(read_settings(settings_path("flickr8k_lite")))
    assert {(run.losses, run.fraction) for run in runs[:6]} == {("itc_itm", 0.25), ("all", 0.25)}
    assert sorted({run.fraction for run in runs}) == [0.1, 0.25, 0.5, 1.0]
    arms = {run.arm for run in runs}
    assert all(len({run.seed for run in runs if run.arm == arm}) >= 3 for arm in arms)


def test_table7_has_the_papers_ratios() -> None:
    ratios = [
        (run.train["image-mask-ratio"], run.train["text-mask-ratio"])
        for run in runs_of(read_settings(settings_path("table7")))
    ]
    assert ratios == [(0.5, 0.3), (0.6, 0.3), (0.7, 0.3), (0.6, 0.15)]
