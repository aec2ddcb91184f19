import numpy as np
import torch
from PIL import Image

from mvlm_plugin.pictures import Cell, draw_cells, heat_map, to_picture


def test_pixels_become_squares() -> None:
    pixels = torch.arange(12, dtype=torch.uint8).view(3, 2, 2)
    picture = np.asarray(to_picture(pixels, 6))
    assert picture.shape == (6, 6, 3)
    assert picture[0, 0].tolist() == [0, 4, 8]
    assert picture[2, 3].tolist() == [1, 5, 9]
    assert picture[5, 5].tolist() == [3, 7, 11]


def test_a_heat_map_is_bright_where_the_map_is_large() -> None:
    values = torch.zeros(4, 4)
    values[1, 2] = 1e-9  # only ratios count
    grey = Image.new("RGB", (80, 80), (100, 100, 100))
    heat = np.asarray(heat_map(grey, values)).astype(int)
    assert heat.shape == (80, 80, 3)
    brightness = heat[..., 0] + heat[..., 1]
    row, column = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (row // 20, column // 20) == (1, 2)
    assert brightness[30, 50] > 2 * brightness[70, 10]


def test_the_image_shows_through_and_a_map_of_nothing_is_dark() -> None:
    halves = Image.new("RGB", (40, 40), "black")
    halves.paste("white", (20, 0, 40, 40))
    heat = np.asarray(heat_map(halves, torch.zeros(4, 4))).astype(int)
    assert np.isfinite(heat).all()
    assert (heat[:, 30] - heat[:, 10] == 102).all()


def test_cells_stand_in_rows_under_their_titles() -> None:
    colours = ["red", "green", "blue", "cyan", "yellow"]
    cells = [Cell("" if i == 2 else "word", Image.new("RGB", (30, 30), colour)) for i, colour in enumerate(colours)]
    sheet = draw_cells(cells, 3)
    pixels = np.asarray(sheet)
    tops = [
        np.argwhere((pixels == Image.new("RGB", (1, 1), c).getpixel((0, 0))).all(axis=-1)).min(axis=0) for c in colours
    ]
    assert tops[0][0] == tops[1][0] == tops[2][0] < tops[3][0] == tops[4][0]
    assert tops[0][1] == tops[3][1] < tops[1][1] == tops[4][1] < tops[2][1]
    for (top, left), cell in zip(tops, cells, strict=True):
        assert (pixels[top - 16 : top, left : left + 30] < 128).any() == bool(cell.title)
    assert draw_cells(cells, 3, "below").height > sheet.height
