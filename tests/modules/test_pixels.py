import torch

from mvlm_plugin.modules.pixels import DEVIATION, MEAN, PixelNormalization


def test_normalisation_is_by_channel_in_fractions_of_full_brightness() -> None:
    images = torch.tensor([0, 100, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    actual = PixelNormalization()(images).flatten()
    expected = [
        (value / 255 - mean) / deviation for value, mean, deviation in zip((0, 100, 255), MEAN, DEVIATION, strict=True)
    ]
    torch.testing.assert_close(actual, torch.tensor(expected))


def test_undo_gives_every_level_back() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    normalize = PixelNormalization()
    assert torch.equal(normalize.undo(normalize(images)), images)


def test_undo_clips_what_lies_outside() -> None:
    normalize = PixelNormalization()
    assert normalize.undo(torch.full((1, 3, 1, 1), 100.0)).eq(255).all()
    assert normalize.undo(torch.full((1, 3, 1, 1), -100.0)).eq(0).all()


def test_the_constants_are_no_part_of_a_checkpoint() -> None:
    assert not PixelNormalization().state_dict()
