import pytest
import torch
from torch import Tensor

from mvlm_plugin.evaluation.grounding import default_layer, observe_matching, word_maps
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_batch, make_model, roughen, tiny_config

LAYERS = 3


def example(words: tuple[int, ...] = (5, 3, 8)) -> tuple[MvlmModel, Tensor, Tensor]:
    """A rough model in double precision, pixels and padded captions."""
    cfg = tiny_config(fusion_layers=LAYERS)
    model = roughen(make_model(cfg), scale=0.1).eval().double()
    inputs = make_batch(cfg, words)["net_input"]
    return model, inputs["images"], inputs["tokens"]


def features(model: MvlmModel, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    image = model.encode_image(model.normalize(pixels).double())
    return image, model.encode_text(tokens), tokens.eq(model.padding_idx)


@pytest.fixture(autouse=True)
def double_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The normalisation gives float32; these models are in double precision, for finite differences."""
    forward = MvlmModel.encode_image
    monkeypatch.setattr(MvlmModel, "encode_image", lambda model, images: forward(model, images.double()))


@pytest.mark.parametrize("layer", range(LAYERS))
def test_what_is_observed_is_what_matching_computes(layer: int) -> None:
    model, pixels, tokens = example()
    image, text, padding = features(model, pixels, tokens)
    rows = torch.arange(len(tokens))
    logits = model.match(image, text, padding, rows, rows)
    seen = observe_matching(model, image, text, padding, layer)
    torch.testing.assert_close(seen.score.double(), logits[:, 1] - logits[:, 0], atol=1e-5, rtol=1e-5)
    assert seen.probabilities.shape == (3, model.cfg.fusion_heads, tokens.size(1), model.grid**2 + 1)
    torch.testing.assert_close(seen.probabilities.sum(dim=-1), torch.ones_like(seen.probabilities[..., 0]))


def test_maps_are_attention_times_the_slope_of_the_score() -> None:
    """The slope is taken by finite differences of one probability at a time, computed by hand from there on."""
    model, pixels, tokens = example()
    image, text, padding = features(model, pixels, tokens)
    maps = word_maps(model, pixels, tokens, layer=0)
    probabilities = observe_matching(model, image, text, padding, 0).probabilities

    def score(changed: Tensor) -> Tensor:
        stream = model.fusion.text_stream
        x = text
        for depth, block in enumerate(stream.blocks):
            context = block.cross_attention.project(image)
            x = block.attend_self(x, padding)
            attended = changed @ context.value if depth == 0 else None
            if attended is None:
                x = block.attend_context(x, context)
            else:
                x = x + block.cross_attention.output(attended.transpose(1, 2).flatten(2))
            x = block.feed(x)
        context = model.fusion.image_stream.project(text)
        from_image = model.fusion.image_stream(image, None, context, padding)
        logits = model.matching(from_image[:, 0], stream.norm(x)[:, 0])
        return logits[:, 1] - logits[:, 0]

    step, grid = 1e-4, model.grid
    for row, word, patch in ((0, 1, 0), (1, 2, 7), (2, 5, 15), (2, 0, 3)):
        expected = 0.0
        for head in range(model.cfg.fusion_heads):
            place = (row, head, word, patch + 1)
            slopes = []
            for sign in (1, -1):
                changed = probabilities.detach().clone()
                changed[place] += sign * step
                slopes.append(score(changed)[row].item())
            slope = (slopes[0] - slopes[1]) / (2 * step)
            expected += probabilities[place].item() * max(slope, 0.0) / model.cfg.fusion_heads
        assert maps[row, word, patch // grid, patch % grid].item() == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_padding_has_no_map_and_words_have() -> None:
    model, pixels, tokens = example()
    maps = word_maps(model, pixels, tokens)
    padding = tokens.eq(model.padding_idx)
    assert maps.shape == (*tokens.shape, model.grid, model.grid)
    assert maps.dtype == torch.float32
    assert padding.any()
    assert torch.all(maps[padding] == 0)
    assert torch.all(maps >= 0)
    assert torch.all(maps[~padding].flatten(1).amax(dim=1) > 0)


def test_a_pair_has_the_same_maps_in_any_batch_and_under_no_grad() -> None:
    model, pixels, tokens = example((5, 3, 8))
    together = word_maps(model, pixels, tokens)
    with torch.no_grad():
        alone = word_maps(model, pixels[1:2], tokens[1:2, :5])
    torch.testing.assert_close(alone[0], together[1, :5])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_words_of_the_last_block_do_not_reach_the_matching() -> None:
    model, pixels, tokens = example()
    assert default_layer(model) == LAYERS - 2
    image, text, padding = features(model, pixels, tokens)
    seen = observe_matching(model, image, text, padding, LAYERS - 1)
    (gradient,) = torch.autograd.grad(seen.score.sum(), seen.probabilities)
    assert torch.all(gradient[:, :, 1:] == 0)
    with pytest.raises(ValueError, match="layer 2 is not one of 0 to 1"):
        word_maps(model, pixels, tokens, layer=LAYERS - 1)
    with pytest.raises(ValueError, match="--fusion-layers 2 or more"):
        default_layer(make_model(tiny_config(fusion_layers=1)))
