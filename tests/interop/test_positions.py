import pytest
import torch

from mvlm_plugin.interop.positions import IMAGE, TEXT, resize_image_positions
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_model, roughen, tiny_config
from tests.timm_helper import import_timm


def field(rows: int, columns: int) -> torch.Tensor:
    """(1, rows * columns + 1, 2): at [CLS] 7 and 9, at patches a constant and a linear field of the patch's centre."""
    y = (torch.arange(rows) + 0.5) / rows
    x = (torch.arange(columns) + 0.5) / columns
    linear = 3 * y[:, None] - 2 * x + 1
    patches = torch.stack([torch.full_like(linear, 5.0), linear], dim=-1).flatten(0, 1)
    return torch.cat([torch.tensor([[7.0, 9.0]]), patches])[None]


@pytest.mark.parametrize("grid", [(24, 24), (28, 28), (21, 35), (7, 7)])
def test_constant_and_linear_fields_stay(grid: tuple[int, int]) -> None:
    resized, expected = resize_image_positions(field(14, 14), grid), field(*grid)
    assert resized.shape == expected.shape
    assert torch.equal(resized[:, 0], expected[:, 0])
    torch.testing.assert_close(resized[..., 0], expected[..., 0])
    # A linear field has no continuation beyond the border: compared is what lies half a kernel inside.
    rows, columns = (-(-size * (4 if size < 14 else 2) // 14) for size in grid)
    inside = (slice(rows, grid[0] - rows), slice(columns, grid[1] - columns))
    actual, wanted = (t[0, 1:, 1].unflatten(0, grid)[inside] for t in (resized, expected))
    assert actual.numel() > 0
    torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def test_the_same_grid_is_the_same_tensor() -> None:
    positions = torch.randn(1, 10, 4)
    assert resize_image_positions(positions, (3, 3)) is positions


def test_positions_are_interpolated_as_timm_does() -> None:
    import_timm()
    from timm.layers import resample_abs_pos_embed

    positions = torch.randn(1, 14 * 14 + 1, 8)
    for grid in [(24, 24), (7, 7), (12, 16)]:
        expected = resample_abs_pos_embed(positions, list(grid), num_prefix_tokens=1)
        torch.testing.assert_close(resize_image_positions(positions, grid), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 9, 12])
def test_patches_that_form_no_square_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} entries"):
        resize_image_positions(torch.zeros(1, count, 4), (4, 4))


def load_into(larger: MvlmModel, smaller: MvlmModel) -> None:
    """As fairseq loads a checkpoint."""
    larger.load_state_dict(dict(smaller.state_dict()), strict=True)


def test_a_checkpoint_of_ours_grows_with_the_image_and_shrinks_with_the_text() -> None:
    source = make_model(tiny_config(image_size=32, max_text_tokens=12))
    roughen(source)
    model = make_model(tiny_config(image_size=48, max_text_tokens=9), seed=1)
    load_into(model, source)
    theirs, ours = source.state_dict(), model.state_dict()
    assert torch.equal(ours[IMAGE], resize_image_positions(theirs[IMAGE], (6, 6)))
    assert torch.equal(ours[TEXT], theirs[TEXT][:, :9])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs.keys() - {IMAGE, TEXT})


def test_missing_text_positions_are_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"text_encoder\.position_embedding"):
        load_into(make_model(tiny_config(max_text_tokens=20)), make_model(tiny_config(max_text_tokens=12)))
