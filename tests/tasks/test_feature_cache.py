"""Cached features: the large batch's losses and gradients in the memory of its chunks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.tasks import global_batch
from mvlm_plugin.tasks.chunks import split_batch
from mvlm_plugin.tasks.feature_cache import CachedStep
from mvlm_plugin.tasks.global_batch import GlobalBatch, accumulation_message
from tests.cli.commands import logged, run, train_command
from tests.helpers import (
    assert_same_tensors,
    gradients,
    make_batch,
    make_criterion,
    make_model,
    roughen,
    tiny_config,
    write_databin,
)

WORDS = (5, 3, 8, 1, 6, 2, 9, 4)
IMAGE_IDS = (0, 1, 1, 2, 3, 4, 5, 1)
OFF = {"mlm": 0.0, "mim": 0.0, "itc": 0.0, "itm": 0.0}


def build(**options: Any) -> MvlmModel:
    return roughen(make_model(tiny_config(**options)), scale=0.02)


def plain(model: MvlmModel, sample: dict[str, Any], **weights: float) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Log and gradients of the whole batch at once."""
    torch.manual_seed(1)
    loss, _, log = make_criterion(**weights)(model, sample)
    loss.backward()
    result = {name: float(value) for name, value in log.items()}, gradients(model)
    model.zero_grad(set_to_none=True)
    return result


def cached(
    model: MvlmModel, sample: dict[str, Any], chunk: int, **weights: float
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Log and gradients by cached features."""
    torch.manual_seed(1)
    loss, size, log = CachedStep(model, make_criterion(**weights), chunk)(sample)
    assert size == len(sample["id"])
    assert loss.item() == log["loss"].item()
    result = {name: float(value) for name, value in log.items()}, gradients(model)
    model.zero_grad(set_to_none=True)
    return result


CASES = {
    "all": ({}, {}),
    "both masked": ({}, {"mask_both": True}),
    "global negatives": ({}, {"global_negatives": True}),
    "visible patches": ({}, {"visible_patches_only": True}),
    "weighted": ({"mlm": 2.0, "mim": 0.5, "itc": 3.0, "itm": 0.25}, {}),
    "contrastive": (OFF | {"itc": 1.0}, {}),
    "matching": (OFF | {"itm": 1.0}, {}),
    "masked": ({"itc": 0.0, "itm": 0.0}, {}),
    "words and contrastive": (OFF | {"mlm": 1.0, "itc": 1.0}, {"mask_both": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_the_whole_batch(case: str) -> None:
    weights, options = CASES[case]
    model, sample = build(**options), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    expected_log, expected = plain(model, sample, **weights)
    log, actual = cached(model, sample, 3, **weights)
    assert log == pytest.approx(expected_log, rel=1e-5)
    absent = {name: torch.zeros_like(value) for name, value in expected.items() if name not in actual}
    assert all(expected[name].eq(0).all() for name in absent)
    assert_same_tensors(actual | absent, expected)


def test_one_chunk_may_hold_everything() -> None:
    model, sample = build(), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    _, expected = plain(model, sample)
    assert_same_tensors(cached(model, sample, 100)[1], expected)


def test_pairs_of_one_image_have_no_negatives() -> None:
    model, sample = build(), make_batch(tiny_config(), WORDS, [3] * len(WORDS))
    expected_log, expected = plain(model, sample)
    log, actual = cached(model, sample, 3)
    assert log == pytest.approx(expected_log, rel=1e-5, abs=1e-6)
    assert_same_tensors(actual, expected)


@pytest.mark.parametrize("part", ["image_encoder", "text_encoder"])
def test_dropout_draws_the_same_in_both_encodings(part: str) -> None:
    model, sample = build(dropout=0.3), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    seen: dict[bool, list[Tensor]] = {False: [], True: []}
    getattr(model, part).register_forward_hook(
        lambda _, __, output: seen[torch.is_grad_enabled()].append(output.detach())
    )
    cached(model, sample, 3, **(OFF | {"itc": 1.0, "itm": 1.0}))
    assert len(seen[False]) == len(seen[True]) == 3
    assert all(torch.equal(first, second) for first, second in zip(seen[False], seen[True], strict=True))


def test_gradients_with_dropout_are_those_of_the_chunks_in_one_graph() -> None:
    model, sample = build(dropout=0.3), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    inputs = sample["net_input"]
    torch.manual_seed(1)
    encoded = []
    for start in range(0, len(WORDS), 3):
        part = {name: inputs[name][start : start + 3] for name in ("images", "tokens")}
        image = model.encode_image(model.normalize(part["images"]), torch.zeros(len(part["tokens"]), 16).bool())
        encoded.append((image, model.encode_text(part["tokens"])))
    features = [torch.cat(parts) for parts in zip(*encoded, strict=True)]
    criterion = make_criterion(**(OFF | {"itc": 1.0}))
    output = SimpleNamespace(mlm=None, mim=None, itm=None, itc=model.embed(*features))
    loss, log = criterion.weigh(output, sample)
    loss.backward()
    expected = gradients(model)
    model.zero_grad(set_to_none=True)
    actual_log, actual = cached(model, sample, 3, **(OFF | {"itc": 1.0}))
    assert actual_log["itc_loss"] == pytest.approx(log["itc_loss"].item(), rel=1e-5)
    assert_same_tensors(actual, expected)


@contextmanager
def saved_bytes(model: nn.Module) -> Iterator[list[int]]:
    """The most bytes that graphs held for their backward passes at one time; parameters count as nothing."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    class Kept:
        def __init__(self, value: Tensor) -> None:
            self.value = value
            is_parameter = value.untyped_storage().data_ptr() in parameters
            self.size = 0 if is_parameter else value.numel() * value.element_size()
            live[0] += self.size
            peak[0] = max(peak[0], live[0])

        def __del__(self) -> None:
            live[0] -= self.size

    live, peak = [0], [0]
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.value):
        yield peak


def test_activations_do_not_grow_with_the_batch() -> None:
    model = build()
    peaks = {}
    for pairs in (4, 8, 16):
        sample = make_batch(tiny_config(), (5,) * pairs)
        with saved_bytes(model) as whole:
            plain(model, sample)
        with saved_bytes(model) as chunked:
            cached(model, sample, 4)
        peaks[pairs] = whole[0], chunked[0]
    assert peaks[16][0] > 3 * peaks[4][0]
    assert peaks[16][1] < 1.05 * peaks[8][1] < 1.2 * peaks[4][0]


def test_no_more_pairs_than_a_chunk_are_encoded_with_gradient() -> None:
    model, sample = build(), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    rows: list[tuple[bool, int]] = []
    for part in (model.image_encoder, model.text_encoder):
        part.register_forward_hook(lambda _, __, output: rows.append((torch.is_grad_enabled(), len(output))))
    cached(model, sample, 3)
    # Two encoders: whole views without gradient, then whole and masked views with gradient.
    assert sorted(rows) == sorted([(False, n) for n in (3, 3, 2)] * 2 + [(True, n) for n in (3, 3, 2)] * 4)


def test_under_autocast_every_parameter_has_its_gradient() -> None:
    model, sample = build(), make_batch(tiny_config(), WORDS, IMAGE_IDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, expected = plain(model, sample)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, actual = cached(model, sample, 3)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max()
        assert (actual[name] - value).abs().max() <= 0.1 * scale + 1e-3, name


def test_chunks_have_their_masked_words() -> None:
    sample = make_batch(tiny_config(), (0, *WORDS))
    whole = sample["net_input"]
    for number, part in enumerate(split_batch(sample, 4)):
        inputs = part["net_input"]
        tokens = whole["tokens"][4 * number : 4 * number + 4]
        assert torch.equal(inputs["tokens"], tokens)
        assert part["nsentences"] == len(tokens)
        assert torch.equal(tokens.flatten()[inputs["mlm_positions"]], part["mlm_targets"])
    assert number == 2


def begin(chunk: int = 4, **changed: Any) -> GlobalBatch:
    values = {"feature_cache_chunk": chunk, "batch_size": 8, "update_freq": [1], "ddp_backend": "pytorch_ddp"}
    return GlobalBatch(SimpleNamespace(**(values | changed)))


def step(batch: GlobalBatch, model: Any) -> Any:
    return batch.step(make_batch(tiny_config()), model, make_criterion(), 0, ignore_grad=True)


def test_what_cannot_work_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--feature-cache-chunk -1 must be at least 0"):
        begin(-1)
    with pytest.raises(ValueError, match="leave --train-batch-norm away"):
        step(begin(), build(train_batch_norm=True))
    monkeypatch.setattr(global_batch, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="add --ddp-backend legacy_ddp"):
        step(begin(), build())


def test_a_rank_without_data_adds_no_gradient() -> None:
    model = build()
    loss, size, _ = step(begin(), model)
    assert (loss.item(), size) == (0.0, 4)
    assert all(value.eq(0).all() for value in gradients(model).values())


def test_off_leaves_the_step_to_fairseq() -> None:
    assert step(begin(0), build()) is None


def test_accumulation_says_how_many_negatives_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accumulation_message([1], 16) == ""
    assert "--update-freq 4 adds no negatives: each pair is contrasted with 15 others" in accumulation_message(
        [1, 4], 16
    )
    assert "the others of its own batch;" in accumulation_message([2], None)
    monkeypatch.setattr(global_batch, "world_size", lambda: 3)
    assert "47 others (batch 16 x 3 processes - 1)" in accumulation_message([2], 16)


def test_fairseq_train_caches_features_and_says_what_accumulation_lacks(tmp_path: Path) -> None:
    data = write_databin(tmp_path / "data")
    small = ["--image-encoder", "vit_tiny_patch8", "--image-size", 32, "--disable-validation", "--no-save"]
    accumulated = run(train_command(data, tmp_path, *small, "--update-freq", 2, updates=2, batch=8))
    cached = run(train_command(data, tmp_path, *small, "--feature-cache-chunk", 7, updates=2, batch=16))
    message = "--update-freq 2 adds no negatives: each pair is contrasted with 7 others (batch 8 x 1 processes - 1)"
    assert accumulated.count(message) == 1
    assert "adds no negatives" not in cached
    first, second = logged(accumulated, "train_inner"), logged(cached, "train_inner")
    assert len(first) == len(second) == 2
    assert first[0].keys() == second[0].keys()
    assert first[0]["bsz"] == second[0]["bsz"] == "16"
    # One in 8 and one in 16 before anything is learned.
    assert float(second[0]["itc_loss"]) - float(first[0]["itc_loss"]) > 0.4
