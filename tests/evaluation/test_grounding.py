import pytest
import torch
from torch import Tensor

from mvlm_plugin.evaluation.grounding import (
    MATCHING,
    PREDICTION,
    caption_maps,
    last_layer,
    matching_maps,
    observe_matching,
    observe_prediction,
    prediction_maps,
)
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_batch, make_dictionary, make_model, roughen, tiny_config

LAYERS = 3
DICTIONARY = make_dictionary()
MASK = len(DICTIONARY) - 1


class PieceTokenizer:
    """Even tokens begin a word, odd ones go on with it."""

    dictionary = DICTIONARY

    def decode(self, ids: list[int]) -> str:
        shown = [token for token in ids if token >= DICTIONARY.nspecial]
        return "".join(f"{' ' * (token % 2 == 0)}t{token}" for token in shown).strip()


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
    maps = matching_maps(model, pixels, tokens, layer=0)
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


def words_of(model: MvlmModel, tokens: Tensor) -> Tensor:
    """Each token but the first and the padding is a word; the second and third are one together."""
    words = (torch.arange(tokens.size(1)) - 1).expand(tokens.shape).clone()
    words[:, 2:] -= 1
    return words.masked_fill(tokens.eq(model.padding_idx), -1)


def maps_by(source: str, model: MvlmModel, pixels: Tensor, tokens: Tensor) -> Tensor:
    if source == MATCHING:
        return matching_maps(model, pixels, tokens, LAYERS - 2)
    return prediction_maps(model, pixels, tokens, words_of(model, tokens), MASK, LAYERS - 1)


def test_words_are_predicted_masked_together_from_the_rest_and_the_image() -> None:
    model, pixels, tokens = example()
    masked = words_of(model, tokens).eq(0)
    masked_tokens = tokens.masked_fill(masked, MASK)
    image, text, padding = features(model, pixels, masked_tokens)
    context = model.fusion.text_stream.project(image)
    seen = observe_prediction(model, context, text, tokens, masked, LAYERS - 1)
    logits = model.predict_words(text, padding, context, masked.flatten().nonzero().squeeze(1))
    likelihood = logits.log_softmax(dim=1)[torch.arange(masked.sum()), tokens[masked]]
    torch.testing.assert_close(seen.score.double(), likelihood.view(3, 2).sum(dim=1), atol=1e-5, rtol=1e-5)


def test_the_map_of_a_word_is_that_of_its_own_prediction_alone() -> None:
    model, pixels, tokens = example()
    words = words_of(model, tokens)
    maps = prediction_maps(model, pixels, tokens, words, MASK, LAYERS - 1)
    for word in (0, 3):
        alone = prediction_maps(model, pixels, tokens, torch.where(words.eq(word), 0, -1), MASK, LAYERS - 1)
        torch.testing.assert_close(alone[words.eq(word)], maps[words.eq(word)])
        masked = words.eq(word)
        image, text, _ = features(model, pixels, tokens.masked_fill(masked, MASK))
        context = model.fusion.text_stream.project(image)
        seen = observe_prediction(model, context, text, tokens, masked, LAYERS - 1)
        (slope,) = torch.autograd.grad(seen.score.sum(), seen.probabilities)
        expected = (seen.probabilities * slope.clamp(min=0))[..., 1:].mean(dim=1).unflatten(2, (model.grid, model.grid))
        torch.testing.assert_close(maps[masked], expected[masked].float())
    assert torch.all(maps[words.eq(-1)] == 0)


@pytest.mark.parametrize("source", [MATCHING, PREDICTION])
def test_padding_has_no_map_and_words_have(source: str) -> None:
    model, pixels, tokens = example()
    maps = maps_by(source, model, pixels, tokens)
    padding = tokens.eq(model.padding_idx)
    assert maps.shape == (*tokens.shape, model.grid, model.grid)
    assert maps.dtype == torch.float32
    assert padding.any()
    assert torch.all(maps[padding] == 0)
    assert torch.all(maps >= 0)
    assert torch.all(maps[:, 1:][~padding[:, 1:]].flatten(1).amax(dim=1) > 0)


@pytest.mark.parametrize("source", [MATCHING, PREDICTION])
def test_a_pair_has_the_same_maps_in_any_batch_and_under_no_grad(source: str) -> None:
    model, pixels, tokens = example((5, 3, 8))
    together = maps_by(source, model, pixels, tokens)
    with torch.no_grad():
        alone = maps_by(source, model, pixels[1:2], tokens[1:2, :5])
    torch.testing.assert_close(alone[0], together[1, :5])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_words_of_the_last_block_do_not_reach_the_matching() -> None:
    model, pixels, tokens = example()
    image, text, padding = features(model, pixels, tokens)
    seen = observe_matching(model, image, text, padding, LAYERS - 1)
    (gradient,) = torch.autograd.grad(seen.score.sum(), seen.probabilities)
    assert torch.all(gradient[:, :, 1:] == 0)


def test_blocks_that_maps_can_be_of() -> None:
    model, pixels, tokens = example()
    tokenizer = PieceTokenizer()
    assert (last_layer(model, MATCHING), last_layer(model, PREDICTION)) == (LAYERS - 2, LAYERS - 1)
    with pytest.raises(ValueError, match="layer 2 is not one of 0 to 1"):
        caption_maps(model, tokenizer, pixels, tokens, MATCHING, layer=LAYERS - 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="--fusion-layers 2 or more"):
        last_layer(make_model(tiny_config(fusion_layers=1)), MATCHING)
    assert last_layer(make_model(tiny_config(fusion_layers=1)), PREDICTION) == 0


@pytest.mark.parametrize("source", [MATCHING, PREDICTION])
def test_a_word_of_several_tokens_has_their_mean(source: str) -> None:
    model, pixels, tokens = example()
    tokens[0, 1:4] = torch.tensor([8, 11, 10])  # "t8t11 t10"
    maps = caption_maps(model, PieceTokenizer(), pixels, tokens, source)  # type: ignore[arg-type]
    assert [word for word, _ in maps[0][:2]] == ["t8t11", "t10"]
    if source == MATCHING:
        of_tokens = matching_maps(model, pixels, tokens, LAYERS - 2)
    else:
        words = torch.full(tokens.shape, -1)
        words[0, 1:4] = torch.tensor([0, 0, 1])
        of_tokens = prediction_maps(model, pixels, tokens, words, MASK, LAYERS - 1)
    torch.testing.assert_close(maps[0][0].values, of_tokens[0, 1:3].mean(dim=0))
    torch.testing.assert_close(maps[0][1].values, of_tokens[0, 3])
