"""Pooled features: kept once for all shares of a split."""

from pathlib import Path

import pytest
import torch

from examples.study import features
from examples.study.features import open_share, pooled_features, untrained_model


def test_features_of_a_split_are_kept_for_all_its_shares(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dictionary = untrained_model("mvlm_tiny", None, str(scenes), 1)
    shares = [open_share(str(scenes), "train", model, dictionary, fraction, 1) for fraction in (0.2, 0.5)]
    expected = [pooled_features(model, share, 32) for share in shares]
    assert len(expected[0].images) == 72
    kept = tmp_path / "features"
    found = [pooled_features(model, shares[0], 32, kept)]
    with monkeypatch.context() as patch:
        patch.setattr(features, "_encoded", lambda *_: pytest.fail("encoded twice"))
        found.append(pooled_features(model, shares[1], 32, kept))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.image_of_text, other.image_of_text)
        # Captions are encoded beside others: more padding, other rounding.
        torch.testing.assert_close((one.images, one.texts), (other.images, other.texts), atol=1e-5, rtol=1e-4)
    assert [path.suffix for path in kept.iterdir()] == [".safetensors"]


def test_features_of_other_weights_or_another_split_are_others(scenes: Path, tmp_path: Path) -> None:
    model, dictionary = untrained_model("mvlm_tiny", None, str(scenes), 1)
    share = open_share(str(scenes), "valid", model, dictionary, 1.0, 1)
    first = pooled_features(model, share, 32, tmp_path)
    with torch.no_grad():
        model.text_encoder.token_embedding.weight.mul_(2)
    second = pooled_features(model, share, 32, tmp_path)
    assert torch.equal(first.images, second.images)
    assert not torch.equal(first.texts, second.texts)
    pooled_features(model, open_share(str(scenes), "test", model, dictionary, 1.0, 1), 32, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
