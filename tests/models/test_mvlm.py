import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.models.outputs import PretrainingOutput
from tests.helpers import make_batch, make_criterion, make_model, roughen, tiny_config


@contextmanager
def calls(**modules: nn.Module) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """Records the shape of the first argument of every call of the named modules."""
    seen: dict[str, list[tuple[int, ...]]] = {name: [] for name in modules}
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(tuple(args[0].shape)))
        for name, module in modules.items()
    ]
    yield seen
    for handle in handles:
        handle.remove()


def count_work(model: MvlmModel, sample: dict[str, Any], *objectives: str) -> dict[str, list[tuple[int, ...]]]:
    modules = {
        "image_blocks": model.image_encoder.blocks[0],
        "text": model.text_encoder,
        "decoder": model.image_decoder,
        "words": model.mlm_head,
        "image_context": model.fusion.text_stream.blocks[0].cross_attention.key_value,
        "text_context": model.fusion.image_stream.blocks[0].cross_attention.key_value,
        "matching": model.matching,
    }
    with calls(**modules) as seen:
        model(**sample["net_input"], objectives=objectives)
    return seen


BATCH = 4
PATCHES = 17  # with [CLS]
# objectives: views of images, views of texts, image contexts, text contexts that have to be computed
WORK = {
    ("mlm",): (1, 1, 1, 0),
    ("mim",): (1, 1, 0, 1),
    ("itc",): (1, 1, 0, 0),
    ("itm",): (1, 1, 1, 1),
    ("mlm", "itc", "itm"): (1, 2, 1, 1),
    ("mim", "itc"): (2, 1, 0, 1),
    ("mlm", "mim"): (2, 2, 1, 1),
    ("mlm", "mim", "itc", "itm"): (2, 2, 1, 1),
}


@pytest.mark.parametrize("objectives", WORK, ids="+".join)
def test_only_what_the_objectives_need_is_computed(objectives: tuple[str, ...]) -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg), make_batch(cfg)
    length = sample["net_input"]["tokens"].size(1)
    images, texts, image_contexts, text_contexts = WORK[objectives]
    seen = count_work(model, sample, *objectives)
    assert seen["image_blocks"] == [(images * BATCH, PATCHES, 128)]
    assert seen["text"] == [(texts * BATCH, length)]
    assert seen["image_context"] == [(BATCH, PATCHES, 128)] * image_contexts
    assert seen["text_context"] == [(BATCH, length, 128)] * text_contexts
    assert len(seen["decoder"]) == ("mim" in objectives)
    assert len(seen["words"]) == ("mlm" in objectives)
    assert seen["matching"] == [(3 * BATCH, 128)] * ("itm" in objectives)


def test_a_weight_of_0_switches_the_work_off() -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg), make_batch(cfg)
    with calls(decoder=model.image_decoder, image_blocks=model.image_encoder.blocks[0]) as seen:
        make_criterion(mim=0)(model, sample)[0].backward()
    assert seen["decoder"] == []
    assert seen["image_blocks"] == [(BATCH, PATCHES, 128)]
    assert all(parameter.grad is None for parameter in model.image_decoder.parameters())
    assert model.image_encoder.mask_token.grad is None or not model.image_encoder.mask_token.grad.any()


def test_the_vocabulary_projection_sees_masked_words_only() -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg), make_batch(cfg)
    masked = len(sample["mlm_targets"])
    with calls(words=model.mlm_head) as seen:
        output = model(**sample["net_input"])
    assert 0 < masked < sample["ntokens"]
    assert seen["words"] == [(masked, 128)]
    assert output.mlm.shape == (masked, model.text_encoder.token_embedding.num_embeddings)


def outputs(model: MvlmModel, sample: dict[str, Any], **changed: Tensor) -> PretrainingOutput:
    with torch.no_grad():
        return model(**{**sample["net_input"], **changed}, objectives=("mlm", "mim"))


@pytest.fixture(params=[False, True], ids=["one masked", "both masked"])
def masked_pair(request: pytest.FixtureRequest) -> tuple[MvlmModel, dict[str, Any]]:
    cfg = tiny_config(mask_both=request.param)
    return roughen(make_model(cfg), scale=0.05).eval(), make_batch(cfg)


def with_other_masked_pixels(model: MvlmModel, sample: dict[str, Any]) -> Tensor:
    """The images with other pixels in masked blocks only."""
    inputs = sample["net_input"]
    block = model.cfg.image_mask_block
    hidden = inputs["block_mask"].repeat_interleave(block, 1).repeat_interleave(block, 2)[:, None]
    return torch.where(hidden, 255 - inputs["images"], inputs["images"])


def with_other_masked_words(sample: dict[str, Any]) -> Tensor:
    """The captions with other words at masked positions only."""
    tokens = sample["net_input"]["tokens"].clone()
    flat = tokens.view(-1)
    positions = sample["net_input"]["mlm_positions"]
    flat[positions] = torch.where(flat[positions] == 20, 21, 20)
    return tokens


def test_hidden_pixels_do_not_reach_their_own_prediction(masked_pair: tuple[MvlmModel, dict[str, Any]]) -> None:
    model, sample = masked_pair
    before = outputs(model, sample)
    after = outputs(model, sample, images=with_other_masked_pixels(model, sample))
    assert torch.equal(after.mim.pixels, before.mim.pixels)
    changed = (after.mim.target - before.mim.target).abs().sum(dim=2) > 0
    assert torch.equal(changed, before.mim.mask)


def test_hidden_words_do_not_reach_their_own_prediction(masked_pair: tuple[MvlmModel, dict[str, Any]]) -> None:
    model, sample = masked_pair
    after = outputs(model, sample, tokens=with_other_masked_words(sample))
    assert torch.equal(after.mlm, outputs(model, sample).mlm)


def test_words_are_read_with_the_whole_image_unless_both_are_masked(
    masked_pair: tuple[MvlmModel, dict[str, Any]],
) -> None:
    model, sample = masked_pair
    after = outputs(model, sample, images=with_other_masked_pixels(model, sample))
    assert torch.equal(after.mlm, outputs(model, sample).mlm) == model.cfg.mask_both


def test_pixels_are_rebuilt_with_the_whole_text_unless_both_are_masked(
    masked_pair: tuple[MvlmModel, dict[str, Any]],
) -> None:
    model, sample = masked_pair
    after = outputs(model, sample, tokens=with_other_masked_words(sample))
    assert torch.equal(after.mim.pixels, outputs(model, sample).mim.pixels) == model.cfg.mask_both


def test_visible_pixels_and_words_do_reach_both_predictions(masked_pair: tuple[MvlmModel, dict[str, Any]]) -> None:
    model, sample = masked_pair
    before = outputs(model, sample)
    visible = torch.where(
        with_other_masked_pixels(model, sample) == sample["net_input"]["images"],
        255 - sample["net_input"]["images"],
        sample["net_input"]["images"],
    )
    after = outputs(model, sample, images=visible)
    assert not torch.equal(after.mlm, before.mlm)
    assert not torch.equal(after.mim.pixels, before.mim.pixels)


def test_alignment_never_sees_a_mask() -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg).eval(), make_batch(cfg)
    inputs = sample["net_input"]
    before = model(**inputs)
    after = model(**{**inputs, "masked_tokens": inputs["tokens"], "block_mask": ~inputs["block_mask"]})
    for name in ("image_embeddings", "text_embeddings"):
        torch.testing.assert_close(getattr(after.itc, name), getattr(before.itc, name))


def test_a_pair_does_not_depend_on_its_batch() -> None:
    """Padding and the other pairs of a batch change nothing of masked prediction and embeddings."""
    cfg = tiny_config()
    model = roughen(make_model(cfg), scale=0.05).eval()
    sample = make_batch(cfg, words=(3, 9))
    inputs = sample["net_input"]
    length = 5
    alone = {name: value[:1] for name, value in inputs.items() if name != "mlm_positions"}
    alone |= {name: alone[name][:, :length] for name in ("tokens", "masked_tokens")}
    alone["mlm_positions"] = inputs["mlm_positions"][inputs["mlm_positions"] < length]
    both, one = (model(**part, objectives=("mlm", "mim", "itc")) for part in (inputs, alone))
    torch.testing.assert_close(one.mlm, both.mlm[: len(one.mlm)], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.mim.pixels, both.mim.pixels[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.itc.text_embeddings, both.itc.text_embeddings[:1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_words_are_predicted_where_they_are_masked() -> None:
    cfg = tiny_config()
    model = roughen(make_model(cfg), scale=0.05).eval()
    inputs = make_batch(cfg)["net_input"]
    logits = model(**inputs, objectives=("mlm",)).mlm
    padding = inputs["tokens"].eq(model.padding_idx)
    context = model.fusion.text_stream.project(model.encode_image(model.normalize(inputs["images"])))
    fused = model.fusion.text_stream(model.encode_text(inputs["masked_tokens"]), padding, context, None)
    expected = model.mlm_head(fused, model.text_encoder.token_embedding.weight)
    for row, position in enumerate(inputs["mlm_positions"].tolist()):
        caption, column = divmod(position, inputs["tokens"].size(1))
        torch.testing.assert_close(logits[row], expected[caption, column], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mask_both", [False, True])
@torch.no_grad()
def test_objectives_do_not_change_one_another(mask_both: bool) -> None:
    cfg = tiny_config(mask_both=mask_both)
    model = roughen(make_model(cfg), scale=0.05).eval()
    inputs = make_batch(cfg)["net_input"]

    def run(*objectives: str) -> PretrainingOutput:
        torch.manual_seed(1)  # negatives are drawn alike
        return model(**inputs, objectives=objectives)

    together = run("mlm", "mim", "itc", "itm")
    torch.testing.assert_close(run("mlm").mlm, together.mlm, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run("mim").mim.pixels, together.mim.pixels, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run("itm").itm.logits, together.itm.logits, atol=1e-5, rtol=1e-5)


def test_matching_judges_the_pairs_it_is_given() -> None:
    cfg = tiny_config()
    model = roughen(make_model(cfg), scale=0.05).eval()
    inputs = make_batch(cfg)["net_input"]
    padding = inputs["tokens"].eq(model.padding_idx)
    image = model.encode_image(model.normalize(inputs["images"]))
    text = model.encode_text(inputs["tokens"])
    image_rows, text_rows = torch.tensor([0, 3, 1, 1, 2]), torch.tensor([0, 1, 3, 2, 2])
    actual = model.match(image, text, padding, image_rows, text_rows)
    for row, (i, t) in enumerate(zip(image_rows.tolist(), text_rows.tolist(), strict=True)):
        length = int((~padding[t]).sum())
        unpadded = torch.zeros(1, length, dtype=torch.bool)
        one = torch.tensor([0])
        expected = model.match(image[i : i + 1], text[t : t + 1, :length], unpadded, one, one)
        torch.testing.assert_close(actual[row : row + 1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("value", "clamped"), [(0.9, 0.5), (0.0002, 0.001), (0.3, 0.3)])
def test_the_temperature_is_brought_back_into_its_range(value: float, clamped: float) -> None:
    cfg = tiny_config()
    model = make_model(cfg)
    with torch.no_grad():
        model.contrastive.log_temperature.fill_(math.log(value))
    output = model(**make_batch(cfg)["net_input"], objectives=("itc",))
    assert output.itc.temperature.item() == pytest.approx(clamped)
    assert model.contrastive.log_temperature.exp().item() == pytest.approx(clamped)


def test_encoders_of_another_width_are_adapted() -> None:
    cfg = tiny_config(fusion_width=64, fusion_heads=2, embedding_width=32)
    model, sample = make_model(cfg), make_batch(cfg)
    loss, _, _ = make_criterion()(model, sample)
    loss.backward()
    assert loss.isfinite()
    assert model.image_adapter.weight.grad.any()
    assert model.text_adapter.weight.grad.any()


def test_what_was_not_asked_for_is_none() -> None:
    cfg = tiny_config()
    output = make_model(cfg)(**make_batch(cfg)["net_input"], objectives=("itc",))
    given = {name for name in PretrainingOutput._fields if getattr(output, name) is not None}
    assert given == {"itc"}
