"""What fairseq-train wrote, exported and used."""

from pathlib import Path

import numpy as np
import torch

from mvlm_plugin import load
from tests.cli.commands import command, run


def test_a_trained_checkpoint_and_its_export_give_equal_outputs(trained: tuple[Path, str], tmp_path: Path) -> None:
    checkpoint, out = trained[0] / "checkpoint_last.pt", tmp_path / "exported"
    assert run(command("mvlm-export", "--path", checkpoint, "--out", out)).startswith(f"wrote {out}: ")
    images = list(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    texts = ["a red square above a blue circle", "a green triangle"]
    mask = np.eye(4, dtype=bool)
    first, second = load(checkpoint, device="cpu"), load(out, device="cpu")
    for method, arguments in {
        "encode_image": (images,),
        "encode_text": (texts,),
        "match": (images, texts),
    }.items():
        results = [getattr(model, method)(*arguments) for model in (first, second)]
        assert torch.equal(*results), method
    assert first.fill_mask(images[0], "a [MASK] square") == second.fill_mask(images[0], "a [MASK] square")
    pictures = [np.asarray(model.reconstruct(images[0], texts[0], mask)) for model in (first, second)]
    assert np.array_equal(*pictures)


def test_help_teaches(tmp_path: Path) -> None:
    text = run(command("mvlm-export", "--help"))
    assert "example: mvlm-export --path checkpoints/checkpoint_last.pt --out exported" in " ".join(text.split())
