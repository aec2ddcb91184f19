from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mvlm_plugin.evaluate.protocol import protocol_of, stage_of, updates_of

OWN = "checkpoint_last.pt"


def _history(*runs: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"criterion_name": name, "num_updates": updates} for name, updates in runs]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("A", 10)], (10, 0)),
        ([("A", 10), ("A", 25)], (25, 0)),  # went on after a stop
        ([("A", 25), ("B", 40)], (40, 25)),  # another criterion: another training
        ([("A", 25), ("A", 5), ("A", 9)], (9, 25)),  # the count fell: the same criterion, begun anew
        ([], (0, 0)),
    ],
)
def test_updates_by_hand(runs: list[tuple[str, int]], expected: tuple[int, int]) -> None:
    assert updates_of(_history(*runs)) == expected


def _cfg(name: str, **checkpoint: str) -> dict[str, Any]:
    return {"task": {"_name": name, "data": "bins"}, "checkpoint": checkpoint}


@pytest.mark.parametrize(
    ("cfg", "earlier", "expected"),
    [
        (_cfg("joint_masked_vl"), 0, "pre-trained only"),
        (_cfg("joint_masked_vl", finetune_from_model="a.pt"), 7, "pre-trained only, started from a.pt (7 updates)"),
        (_cfg("vl_retrieval", finetune_from_model="a.pt"), 7, "fine-tuned (vl_retrieval) from a.pt (7 updates)"),
        (_cfg("vl_vqa", restore_file="b.pt"), 7, "fine-tuned (vl_vqa) from b.pt (7 updates)"),
        (_cfg("vl_vqa", restore_file=OWN), 7, "fine-tuned (vl_vqa) from an earlier checkpoint (7 updates)"),
        (_cfg("vl_vqa"), 0, "trained (vl_vqa), not from a pre-trained checkpoint"),
    ],
)
def test_stage_by_hand(cfg: dict[str, Any], earlier: int, expected: str) -> None:
    assert stage_of(cfg, earlier) == expected


def _protocol(path: Path, **more: Any) -> dict[str, Any]:
    task, model = (
        SimpleNamespace(cfg=SimpleNamespace(data="evaluated")),
        SimpleNamespace(cfg=SimpleNamespace(image_size=32)),
    )
    return protocol_of(str(path), task, model, **more)  # type: ignore[arg-type]  # fmt: skip


def test_protocol_of_a_checkpoint(tmp_path: Path) -> None:
    cfg = _cfg("joint_masked_vl")
    cfg["task"]["data_fraction"] = 0.5
    cfg["criterion"] = {"mlm_weight": 0.0, "itc_weight": 1.0, "itm_weight": 0.5}
    path = tmp_path / "a.pt"
    torch.save({"cfg": cfg, "optimizer_history": _history(("A", 3))}, path)
    assert _protocol(path, subset="test", top_k=16) == {
        "checkpoint": str(path),
        "stage": "pre-trained only",
        "objectives": "itc, itm",
        "trained_on": "bins, 0.5 of its images",
        "updates": 3,
        "resolution": 32,
        "data": "evaluated",
        "subset": "test",
        "top_k": 16,
    }


@pytest.mark.parametrize("content", [{}, {"cfg": {}, "optimizer_history": []}, [1]])
def test_other_files_are_no_checkpoints(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="no checkpoint"):
        _protocol(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_text("hello")
    with pytest.raises(ValueError, match="no checkpoint"):
        _protocol(tmp_path / "b.pt")
