"""Fine-tuning for retrieval and its evaluation, by the real commands."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.commands import command, logged, run, run_two_ranks, train_command, validate_command

FIGURES = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
TASK = ["--task", "vl_retrieval", "--criterion", "vl_retrieval", "--texts-per-image", 2]


def _fine_tune(scenes: Path, source: Path, folder: Path, *options: object, updates: int = 3) -> list[str]:
    """vl_retrieval at 96 pixels where the source has 64, in bfloat16, with another optimizer state than its."""
    larger = ["--image-size", 96, "--autocast", "bf16", "--finetune-from-model", source]
    return train_command(scenes, folder, *TASK, *larger, *options, updates=updates)


def _evaluate(path: Path, data: Path, json_file: Path, *options: object) -> dict[str, Any]:
    run(
        command(
            "mvlm-eval",
            "retrieval",
            "--path",
            path,
            "--data",
            data,
            "--top-k",
            10,
            "--json",
            json_file,
            "--device",
            "cpu",
            *options,
        )
    )
    return json.loads(json_file.read_text())


@pytest.fixture(scope="module")
def fine_tuned(scenes: Path, trained: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Checkpoint after 3 updates of vl_retrieval, and the log."""
    folder = tmp_path_factory.mktemp("retrieval")
    log = run(_fine_tune(scenes, trained[0] / "checkpoint_last.pt", folder))
    return folder / "checkpoint_last.pt", log


def test_fine_tuning_says_what_it_starts_from(fine_tuned: tuple[Path, str]) -> None:
    path, log = fine_tuned
    assert "image positions interpolated: 4 x 4 patches -> 6 x 6" in log
    assert "values loaded, heads included; new: nothing" in log
    updates = logged(log, "train_inner")
    assert len(updates) == 3
    assert {name.removesuffix("_loss") for name in updates[0] if name.endswith("_loss")} == {"itc", "itm"}
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert state["model"]["image_encoder.position_embedding"].shape[1] == 37


def test_evaluation_of_both_stages(
    scenes: Path, trained: tuple[Path, str], fine_tuned: tuple[Path, str], tmp_path: Path
) -> None:
    source = trained[0] / "checkpoint_last.pt"
    expected = {
        "checkpoint": str(source),
        "stage": "pre-trained only",
        "objectives": "mlm, mim, itc, itm",
        "updates": 4,
        "resolution": 64,
        "subset": "test",
        "images": 60,
        "captions": 60,
        "bad_images": 0,
        "top_k": 10,
    }
    zero_shot = _evaluate(source, scenes, tmp_path / "zero.json")
    assert zero_shot["protocol"] == zero_shot["protocol"] | expected
    valid = logged(run(validate_command(scenes, source)), "test")[0]
    validated = [float(valid[f"test_{name}"]) for name in FIGURES]
    assert [zero_shot["itc"][name] for name in FIGURES] == pytest.approx(validated, abs=1e-3)
    after = _evaluate(fine_tuned[0], scenes, tmp_path / "after.json", "--faiss", "--pairs-per-chunk", 7)
    assert after["protocol"]["stage"] == f"fine-tuned (vl_retrieval) from {source} (4 updates)"
    assert after["protocol"]["objectives"] == "itc, itm"
    assert after["protocol"]["updates"] == 3
    assert after["protocol"]["resolution"] == 96
    for block in ("itc", "itm", "itm_itc"):
        assert after[block]["sum"] == pytest.approx(sum(after[block][name] for name in FIGURES))
    for name in (*FIGURES, "sum"):
        assert after["itm_minus_itc"][name] == pytest.approx(after["itm"][name] - after["itc"][name])
        assert after["itm_minus_itc"][f"{name}_se"] >= 0


def test_a_resumed_run_repeats_the_losses(
    scenes: Path, trained: tuple[Path, str], fine_tuned: tuple[Path, str], tmp_path: Path
) -> None:
    source = trained[0] / "checkpoint_last.pt"
    run(_fine_tune(scenes, source, tmp_path, updates=2))
    resumed = logged(run(_fine_tune(scenes, source, tmp_path)), "train_inner")
    whole = logged(fine_tuned[1], "train_inner")
    assert [update["num_updates"] for update in resumed] == ["3"]
    assert {key: resumed[0][key] for key in ("loss", "itc_loss", "itm_loss")} == {
        key: whole[2][key] for key in ("loss", "itc_loss", "itm_loss")
    }


def test_two_ranks_start_and_go_on(scenes: Path, trained: tuple[Path, str], tmp_path: Path) -> None:
    source = trained[0] / "checkpoint_last.pt"
    for updates, numbers in ((2, ["1", "2"]), (3, ["3"])):
        outputs = run_two_ranks(_fine_tune(scenes, source, tmp_path, "--disable-validation", updates=updates))
        logs = logged(outputs[0], "train_inner")
        assert [update["num_updates"] for update in logs] == numbers
        assert [float(update["bsz"]) for update in logs] == [32] * len(numbers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", 9], "at least 10"),
        (["--subset", "train"], "held-out"),
        (["--subset", "nowhere"], "no split"),
        (["--pairs-per-chunk", 0], "at least 1"),
    ],
)
def test_what_cannot_work_ends_with_a_message(
    scenes: Path, trained: tuple[Path, str], tmp_path: Path, options: list[object], message: str
) -> None:
    json_file = tmp_path / "a.json"
    path = trained[0] / "checkpoint_last.pt"
    common = ["--path", path, "--data", scenes, "--json", json_file]
    output = run(command("mvlm-eval", "retrieval", *common, *options), expect=2)
    assert message in output
    assert not json_file.exists()
