"""The methods of a loaded model, against the model itself."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mvlm_plugin.interface import VisionLanguageModel, load
from mvlm_plugin.modules.patches import patchify, unpatchify
from tests.interface.conftest import save_checkpoint, tiny_model
from tests.interface.test_pictures import picture

PICTURES = [picture(seed=seed) for seed in range(5)]
TEXTS = ["a red square", "two dogs", "a man rides a horse along the beach", "", "the circle"]
# Results of other batch sizes differ by rounding.
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def text_features(model: VisionLanguageModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    return model.model.encode_text(tokens), tokens.eq(model.model.padding_idx)


def image_features(model: VisionLanguageModel, images: list[Image.Image]) -> Tensor:
    return model.model.encode_image(model.model.normalize(model.pixels(images)))


def ids(model: VisionLanguageModel, *parts: str) -> Tensor:
    """(1, L) ids of texts with a mask between each two."""
    dictionary = model.tokenizer.dictionary
    pieces = [model.tokenizer.encode(part)[:-1] for part in parts]
    row = [dictionary.bos(), *pieces[0]]
    for piece in pieces[1:]:
        row += [dictionary.index("<mask>"), *piece]
    return torch.tensor([[*row, dictionary.eos()]])


def test_texts_become_padded_tokens_as_in_training(model: VisionLanguageModel) -> None:
    tokens, dictionary = model.tokens(["a red square", "a"]), model.tokenizer.dictionary
    assert tokens[0].tolist() == ids(model, "a red square")[0].tolist()
    assert tokens[1].tolist()[:3] == ids(model, "a")[0].tolist()
    assert set(tokens[1].tolist()[3:]) == {dictionary.pad()}
    long = model.tokens("a red square above a blue circle " * 9)[0]
    assert len(long) == model.model.cfg.max_text_tokens
    assert long[-1] == dictionary.eos()
    assert dictionary.index("<mask>") not in model.tokens("a [MASK] <mask> dog")
    assert model.tokens([]).shape == (0, 0)


@torch.no_grad()
def test_vectors_are_the_models(model: VisionLanguageModel) -> None:
    images, texts = model.encode_image(PICTURES), model.encode_text(TEXTS)
    assert torch.equal(images, model.model.embed_image(image_features(model, PICTURES)))
    assert torch.equal(texts, model.model.embed_text(text_features(model, model.tokens(TEXTS))[0]))
    for vectors in (images, texts):
        assert vectors.shape == (5, 128)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
        assert torch.pdist(vectors).min() > 1e-3
    torch.testing.assert_close(model.encode_image(PICTURES, batch_size=2), images, **CLOSE)
    torch.testing.assert_close(model.encode_text(TEXTS, batch_size=2), texts, **CLOSE)
    assert model.encode_image(PICTURES[0]).shape == model.encode_text("a dog").shape == (1, 128)
    assert model.encode_image([]).shape == model.encode_text([]).shape == (0, 128)


def test_images_are_read_batch_by_batch(model: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = model.model.encode_image
    monkeypatch.setattr(model.model, "encode_image", lambda pixels: encoded.append(len(pixels)) or encode(pixels))

    def pictures() -> Iterator[Image.Image]:
        for number, image in enumerate(PICTURES):
            assert sum(encoded) >= number - 1
            yield image

    model.encode_image(pictures(), batch_size=2)
    assert encoded == [2, 2, 1]


@torch.no_grad()
def test_matching_compares_pairs(model: VisionLanguageModel) -> None:
    tokens, rows = model.tokens(TEXTS), torch.arange(5)
    features = (image_features(model, PICTURES), *text_features(model, tokens))
    expected = model.model.match(*features, rows, rows).softmax(dim=1)[:, 1]
    assert torch.equal(model.match(PICTURES, TEXTS), expected)
    assert expected.unique().numel() == 5
    torch.testing.assert_close(model.match(PICTURES, TEXTS, batch_size=2), expected, **CLOSE)
    one_text = model.model.match(*features, rows, rows * 0 + 2).softmax(dim=1)[:, 1]
    torch.testing.assert_close(model.match(PICTURES, TEXTS[2], batch_size=2), one_text, **CLOSE)
    one_image = model.model.match(*features, rows * 0 + 2, rows).softmax(dim=1)[:, 1]
    torch.testing.assert_close(model.match(PICTURES[2], TEXTS, batch_size=2), one_image, **CLOSE)
    assert model.match([], []).shape == model.match(PICTURES[0], []).shape == (0,)
    with pytest.raises(ValueError, match="5 images and 2 texts are no pairs"):
        model.match(PICTURES, TEXTS[:2])


def test_a_batch_size_of_zero_is_refused(model: VisionLanguageModel) -> None:
    calls = {model.encode_image: (PICTURES,), model.encode_text: (TEXTS,), model.match: (PICTURES, TEXTS)}
    for method, arguments in calls.items():
        with pytest.raises(ValueError, match="batch_size 0 must be at least 1"):
            method(*arguments, batch_size=0)


@torch.no_grad()
def test_masked_words_are_the_models(model: VisionLanguageModel) -> None:
    tokens, dictionary = ids(model, "two dogs", "with a", "ball"), model.tokenizer.dictionary
    space = dictionary.index("\u2581") - 4  # a token, but no word
    places = tokens[0].eq(dictionary.index("<mask>")).nonzero().flatten()
    context = model.model.fusion.text_stream.project(image_features(model, [PICTURES[1]]))
    logits = model.model.predict_words(*text_features(model, tokens), context, places)
    expected = logits[:, 4:-1].softmax(dim=1).index_fill(1, torch.tensor(space), 0.0)
    found = model.fill_mask(PICTURES[1], "two dogs [MASK] with a <mask> ball", top_k=10_000)
    for row, probabilities in zip(found, expected, strict=True):
        values = [value for _, value in row]
        torch.testing.assert_close(torch.tensor(values), probabilities.sort(descending=True).values[:-1], **CLOSE)
        assert row[0][0] == model.tokenizer.decode([4 + int(probabilities.argmax())])
    assert [row[:3] for row in found] == model.fill_mask(PICTURES[1], "two dogs [MASK] with a [MASK] ball", top_k=3)
    assert found[0] != model.fill_mask(PICTURES[2], "two dogs [MASK] with a [MASK] ball", top_k=10_000)[0]


def test_special_symbols_fill_no_mask(databin: Path, tmp_path: Path) -> None:
    likely = tiny_model(databin)
    with torch.no_grad():
        likely.mlm_head.bias[[0, 1, 2, 3, -1]] = 100.0
    model = load(save_checkpoint(tmp_path / "checkpoint.pt", databin, likely), device="cpu")
    (row,) = model.fill_mask(PICTURES[0], "a [MASK]", top_k=10_000)
    assert not {"", "<unk>", "<mask>"} & {word for word, _ in row}
    assert 0.9 < sum(probability for _, probability in row) < 1.0  # the rest is a space


@pytest.mark.parametrize(
    ("text", "top_k", "message"),
    [
        ("a dog", 5, r"no \[MASK\]"),
        ("a [MASK]", 0, "top_k 0"),
        ("a red square " * 9 + "[MASK]", 5, "behind the first 32 tokens"),
    ],
)
def test_texts_that_cannot_be_filled(model: VisionLanguageModel, text: str, top_k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.fill_mask(PICTURES[0], text, top_k)


def some_patches(model: VisionLanguageModel) -> np.ndarray:
    mask = np.zeros((model.model.grid, model.model.grid), bool)
    mask[1:3, 0] = mask[3, 3] = True
    return mask


def as_tensor(image: Image.Image) -> Tensor:
    """(1, 3, S, S)"""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


@torch.no_grad()
def test_hidden_patches_are_rebuilt_and_visible_ones_stay(model: VisionLanguageModel) -> None:
    mask = some_patches(model)
    hidden = torch.from_numpy(mask).view(1, 16)
    pixels = model.pixels(PICTURES[0])
    masked = model.model.encode_image(model.model.normalize(pixels), hidden)
    predicted = model.model.predict_pixels(masked, *text_features(model, model.tokens("two dogs")))
    rebuilt = patchify(model.model.normalize.undo(unpatchify(predicted, 8, 4)), 8)
    found = patchify(as_tensor(model.reconstruct(PICTURES[0], "two dogs", mask)), 8)
    assert torch.equal(found[~hidden], patchify(pixels, 8)[~hidden])
    assert torch.equal(found[hidden], rebuilt[hidden])
    assert not torch.equal(found[hidden], patchify(pixels, 8)[hidden])
    other = patchify(as_tensor(model.reconstruct(PICTURES[0], "a red square", mask)), 8)
    assert not torch.equal(found[hidden], other[hidden])
    torn = patchify(as_tensor(model.reconstruct(PICTURES[0], "two [MASK]", mask)), 8)
    assert not torch.equal(found[hidden], torn[hidden])


@torch.no_grad()
def test_patches_predicted_without_their_colours_get_them_from_the_image(
    databin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structural = tiny_model(databin, normalized_patches=True)
    model = load(save_checkpoint(tmp_path / "checkpoint.pt", databin, structural), device="cpu")
    pixels = model.pixels(PICTURES[0])
    truth = model.model.pixel_targets(model.model.normalize(pixels))
    assert truth.mean(dim=2).abs().max() < 1e-4
    monkeypatch.setattr(model.model, "predict_pixels", lambda *context: truth)
    found = as_tensor(model.reconstruct(PICTURES[0], "two dogs", np.ones((4, 4), dtype=bool)))
    assert (found.int() - pixels.int()).abs().max() <= 1


def test_hidden_patches_are_not_seen(model: VisionLanguageModel) -> None:
    mask = some_patches(model)
    overpainted = np.array(picture(32, 32))
    overpainted[mask.repeat(8, axis=0).repeat(8, axis=1)] = 0
    images = [model.reconstruct(image, "two dogs", mask) for image in (picture(32, 32), overpainted)]
    assert np.array_equal(*images)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (96, 160), (20, 12)])
def test_a_mask_of_pixels_hides_the_patches_that_it_touches(
    model: VisionLanguageModel, width: int, height: int
) -> None:
    image, grid = picture(width, height), some_patches(model)
    mask = grid.repeat(height // 4, axis=0).repeat(width // 4, axis=1)
    expected = np.asarray(model.reconstruct(image, "two dogs", grid))
    assert np.array_equal(model.reconstruct(image, "two dogs", mask), expected)
    dots = np.zeros_like(mask)
    dots[height // 4 :: height // 4, width // 8] = True  # the first row of pixels of each patch below the first
    assert dots.sum() == 3
    if (width, height) == (32, 32):
        column = np.zeros((4, 4), bool)
        column[1:, 0] = True
        assert np.array_equal(
            model.reconstruct(image, "two dogs", dots), np.asarray(model.reconstruct(image, "two dogs", column))
        )


def test_masks_of_another_shape_or_type_are_refused(model: VisionLanguageModel) -> None:
    with pytest.raises(ValueError, match=r"\(5, 4\); it must be \(4, 4\), the model's patches, or \(40, 50\)"):
        model.reconstruct(picture(), "a dog", np.zeros((5, 4), bool))
    with pytest.raises(ValueError, match="type uint8; it must be bool"):
        model.reconstruct(picture(), "a dog", np.zeros((4, 4), np.uint8))


def test_images_and_masks_go_through_the_checkpoints_own_transform(databin: Path, tmp_path: Path) -> None:
    path = save_checkpoint(
        tmp_path / "checkpoint.pt", databin, eval_transform="decode|resize({size})|center_crop({size})"
    )
    model, image = load(path, device="cpu"), picture(64, 32)
    pixels = model.pixels(image)
    assert np.array_equal(pixels[0].permute(1, 2, 0), np.asarray(image)[:, 16:48])
    mask = np.zeros((32, 64), bool)
    mask[:, :16] = True  # cut off
    assert torch.equal(as_tensor(model.reconstruct(image, "two dogs", mask)), pixels)
    mask[:, :24] = True
    column = np.zeros((4, 4), bool)
    column[:, 0] = True
    assert np.array_equal(
        model.reconstruct(image, "two dogs", mask), np.asarray(model.reconstruct(image, "two dogs", column))
    )


def test_a_model_of_visible_patches_rebuilds_any_number(databin: Path, tmp_path: Path) -> None:
    sparse = tiny_model(databin, visible_patches_only=True, image_mask_ratio=0.5)
    model = load(save_checkpoint(tmp_path / "checkpoint.pt", databin, sparse), device="cpu")
    before = sparse.image_encoder.visible_patches
    result = as_tensor(model.reconstruct(PICTURES[0], "two dogs", some_patches(model)))
    same = (result == model.pixels(PICTURES[0])).all(dim=1)
    assert patchify(same[:, None], 8).all(dim=2).sum() == 13
    assert model.model.image_encoder.visible_patches == before == 8
    with pytest.raises(ValueError, match="hides all patches"):
        model.reconstruct(PICTURES[0], "two dogs", np.ones((4, 4), bool))
