from pathlib import Path
from typing import Any

import pytest
import torch

from mvlm_plugin.ema import averaged_checkpoint, main
from mvlm_plugin.interop.dictionary_digest import ENTRY
from mvlm_plugin.optim.weight_ema import averages_of
from tests.helpers import assert_same_tensors
from tests.optim.helpers import make_optimizer, make_rough_model, update


def trained_checkpoint(updates: int = 4, **options: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What fairseq's checkpoint holds of a model after some updates, and its averages (decay 0.8) by hand.

    The text encoder's embedding is frozen.
    """
    model = make_rough_model()
    model.text_encoder.token_embedding.requires_grad_(False)
    optimizer = make_optimizer(model, **options)
    optimizer.set_lr(0.1)
    expected: dict[str, torch.Tensor] = {}
    for step in range(updates):
        update(model, optimizer, step)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                weight = parameter.detach().double()
                expected[name] = 0.8 * expected.get(name, weight) + 0.2 * weight
    checkpoint = {"model": model.state_dict(), "last_optimizer_state": optimizer.state_dict(), "extra_state": {}}
    return checkpoint, {name: value.float() for name, value in expected.items()}


def test_averages_equal_the_formula() -> None:
    checkpoint, expected = trained_checkpoint(weight_ema=0.8)
    averages = averages_of(checkpoint["last_optimizer_state"])
    assert_same_tensors(averages, expected, 1e-5)
    moved = [name for name, average in averages.items() if (average - checkpoint["model"][name]).abs().max() > 0.01]
    assert len(moved) > len(averages) / 2  # else the comparison says nothing


def test_an_averaged_checkpoint_has_averages_and_what_was_frozen() -> None:
    checkpoint, expected = trained_checkpoint(weight_ema=0.8)
    frozen = {name: value.clone() for name, value in checkpoint["model"].items() if name not in expected}
    assert "text_encoder.token_embedding.weight" in frozen
    checkpoint["model"]["tied"] = checkpoint["model"]["mlm_head.dense.weight"]
    frozen["tied"] = expected["mlm_head.dense.weight"]
    averaged = averaged_checkpoint(checkpoint)
    assert torch.equal(averaged["model"].pop(ENTRY), frozen.pop(ENTRY))
    assert_same_tensors(averaged["model"], {**expected, **frozen}, 1e-5)
    assert "last_optimizer_state" not in averaged


def test_without_averages_it_says_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, _ = trained_checkpoint(updates=1)
    torch.save(checkpoint, tmp_path / "plain.pt")
    assert main(["--path", str(tmp_path / "plain.pt"), "--out", str(tmp_path / "ema.pt")]) == 2
    assert "--weight-ema 0.9999" in capsys.readouterr().err
    del checkpoint["last_optimizer_state"]
    with pytest.raises(ValueError, match="--no-save-optimizer-state"):
        averaged_checkpoint(checkpoint)
    assert not (tmp_path / "ema.pt").exists()


def test_averages_of_another_model_are_refused() -> None:
    checkpoint, _ = trained_checkpoint(updates=1, weight_ema=0.8)
    del checkpoint["model"]["image_encoder.cls_token"]
    with pytest.raises(ValueError, match=r"that its model lacks: image_encoder\.cls_token"):
        averaged_checkpoint(checkpoint)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint")
    for path in (tmp_path / "text.pt", tmp_path / "missing.pt"):
        assert main(["--path", str(path), "--out", str(tmp_path / "ema.pt")]) == 2
        assert str(path) in capsys.readouterr().err
