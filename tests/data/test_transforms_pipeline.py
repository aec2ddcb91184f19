import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mvlm_plugin import RgbImage, register_image_operation
from mvlm_plugin.data.images import BadImageError
from mvlm_plugin.data.transforms import Pipeline, default_eval_transform, default_train_transform, operations
from mvlm_plugin.registry import Registry
from tests.data.spots import FULL, encoded


def run(text: str, size: int = 32, seed: int = 0, caption: str = "", data: bytes | None = None) -> torch.Tensor:
    return Pipeline(text, size)(data or encoded(), np.random.default_rng(seed), caption)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry = Registry("image operation")
    registry._builders = dict(operations.IMAGE_OPERATIONS._builders)
    monkeypatch.setattr(operations.IMAGE_OPERATIONS, "_builders", registry._builders)


@pytest.mark.parametrize("size", [16, 33])
@pytest.mark.parametrize(
    "text",
    [
        FULL,
        "decode|resize(40)|center_crop({size})",
        " decode | resize({size}) | center_crop( {size} ) ",
        "decode()|resize_exact(size={size})",
        "decode|random_resized_crop({size}, (0.3, 0.9), ratio=[1, 1])",
        default_eval_transform(),
        default_train_transform(0.5),
    ],
)
def test_pixels_have_the_image_size(text: str, size: int) -> None:
    for data in (encoded(), encoded(size=(31, 90)), encoded(kind="JPEG")):
        pixels = run(text, size, data=data)
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (3, size, size)
        assert pixels.is_contiguous()
        pixels += 1  # memory of its own, that may be written to


def test_operations_run_in_their_order() -> None:
    image = np.asarray(Image.open(io.BytesIO(encoded())))  # 60 x 40
    cropped = run("decode|resize(40)|center_crop(20)", 20)
    assert np.array_equal(cropped.permute(1, 2, 0).numpy(), image[10:30, 20:40])
    shrunk = run("decode|resize(20)|center_crop(20)", 20)
    assert not torch.equal(shrunk, cropped)


def test_pixels_are_channel_row_column() -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    image.paste((40, 50, 60), (4, 0, 8, 8))  # right half
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    pixels = run("decode|resize_exact(8)", 8, data=buffer.getvalue())
    assert pixels[:, 7, 0].tolist() == [10, 20, 30]
    assert pixels[:, 0, 7].tolist() == [40, 50, 60]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("decode|", "cannot be read"),
        ("decode|flip(", "cannot be read"),
        ("decode|" + "(" * 5000, "cannot be read"),
        ("decode|3", "'3' is neither a name nor a call of one"),
        ("decode + flip", r"'decode \+ flip' is neither"),
        ("decode|np.flip", r"'np\.flip' is neither"),
        ("decode|flop", r"unknown image operation 'flop'; choices: center_crop, decode, flip.*Did you mean 'flip'\?"),
        ("decode|__import__('os')", "unknown image operation '__import__'"),
        ("decode|resize(open('x'))", r"resize\(open\('x'\)\): \"open\('x'\)\" is not a plain value"),
        ("decode|resize({siz})", r"'\{siz\}' is not a plain value"),
        ("decode|resize(*(1, 2))", "is not a plain value"),
        ("decode|resize(**{'size': 3})", r"\*\* is not allowed"),
        ("decode|resize", r"resize: missing a required argument: 'size'; it is written as resize\(size\)"),
        ("decode|flip(0.5, 3)", r"flip\(0\.5, 3\): too many positional arguments; it is written as flip\(p=0\.5\)"),
        ("decode|flip(q=1)", r"unexpected keyword argument 'q'; it is written as flip\(p=0\.5\)"),
        ("decode|flip(1.5)", r"flip\(1\.5\): p = 1\.5 must lie between 0 and 1; it is written as"),
        ("decode|resize('wide')", "size = 'wide' must be a whole number of pixels from 1 to 8192"),
        ("decode|resize_exact(0)", "size = 0 must"),
        ("decode|center_crop(1e9)", r"size = 1000000000\.0 must"),
        ("decode|random_resized_crop({size}, scale=0)", "scale = 0 to 1.0 must be above 0"),
        ("decode|random_resized_crop({size}, scale=(0.9, 0.2))", "in order"),
        ("decode|random_resized_crop({size}, scale=(0.5, 2))", "at most 1.0"),
        ("decode|random_resized_crop({size}, scale=(1, 2, 3))", "too many values"),
        ("decode|random_resized_crop({size}, ratio=3)", r"written as random_resized_crop\(size, scale=0\.5, ratio="),
        ("decode|random_stretched_crop({size}, scale=2)", "scale = 2 to 1.0"),
        ("decode|randaugment(2, 77)", "magnitude = 77 must lie between 0 and 10"),
        ("resize_exact({size})", r"resize_exact\(32\) cannot come first: start with decode"),
        ("decode|decode|resize_exact({size})", "decode comes first, and only there"),
        ("decode", "gives 48 x 32 pixels, the model takes 32 x 32"),
        ("decode|resize({size})", r"gives 48 x 32 pixels, .* e\.g\. center_crop\(\{size\}\), or set --image-size"),
        ("decode|resize_exact(224)", "gives 224 x 224 pixels, the model takes 32 x 32"),
        ("decode|center_crop({size})", "fails on an image of 5 x 7 pixels: 5 x 7 pixels are too few"),
    ],
)
def test_what_cannot_work_is_told_before_any_image(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Pipeline(text, 32)
    assert "\n" not in str(error.value)


def test_a_text_beyond_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Pipeline("decode" + "|flip" * 20_000, 32)


@pytest.mark.parametrize("name", ["flip", "randaugment(2, 7)", "random_resized_crop(32)", "random_stretched_crop(32)"])
def test_held_out_images_must_not_vary(name: str) -> None:
    text = f"decode|{name}|resize_exact({{size}})"
    Pipeline(text, 32)
    with pytest.raises(ValueError, match="is random, and held-out images must not vary"):
        Pipeline(text, 32, allow_random=False)


def test_equal_generators_give_equal_pixels() -> None:
    results = [run(FULL, seed=seed) for seed in (1, 1, 2, 3)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(results[2], results[3])


def test_bad_bytes_are_bad_images() -> None:
    with pytest.raises(BadImageError, match="not an image"):
        run(FULL, data=b"spam")


@pytest.mark.usefixtures("registered")
class TestOwnOperations:
    def test_one_takes_arguments_and_the_caption(self) -> None:
        @register_image_operation("paint", needs_caption=True)
        def paint(grey: int, word: str = "night") -> Any:
            return lambda image, draw: RgbImage(np.full_like(image.array, 0 if word in draw.caption else grey))

        pipeline = Pipeline("decode|paint(7)|resize_exact({size})", 16)
        assert pipeline.needs_caption
        assert not Pipeline("decode|resize_exact({size})", 16).needs_caption
        assert pipeline(encoded(), np.random.default_rng(0), "a day").unique().tolist() == [7]
        assert pipeline(encoded(), np.random.default_rng(0), "a night").unique().tolist() == [0]
        assert operations.usage("paint") == "paint(grey, word='night')"

    def test_one_may_decode(self) -> None:
        @register_image_operation("raw", decodes=True)
        def raw() -> Any:
            return lambda data, draw: RgbImage(Image.new("RGB", (9, 9), (len(data) % 256, 0, 0)))

        assert run("raw|resize_exact(8)", 8, data=b"spam")[0].unique().tolist() == [4]

    def test_a_name_is_taken_once(self) -> None:
        with pytest.raises(ValueError, match="image operation 'flip' is registered already"):
            register_image_operation("flip")(lambda: None)

    def test_one_that_returns_something_else_is_named(self) -> None:
        @register_image_operation("grey")
        def grey() -> Any:
            return lambda image, draw: image.pillow.convert("L")

        with pytest.raises(ValueError, match="grey returns a Image, not an RgbImage"):
            Pipeline("decode|resize_exact({size})|grey", 16)

    def test_one_that_draws_must_say_so(self) -> None:
        @register_image_operation("jitter")
        def jitter() -> Any:
            return lambda image, draw: RgbImage(image.array + np.uint8(draw.rng.integers(9)))

        with pytest.raises(ValueError, match=r"jitter draws random numbers; register it with is_random=True"):
            Pipeline("decode|resize_exact({size})|jitter", 16)
