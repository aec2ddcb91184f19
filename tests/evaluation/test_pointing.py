import math

import pytest
import torch
from torch import Tensor

from mvlm_plugin.evaluation.pointing import Judgement, find_mentions, judge, patches_in, pointing_figures
from mvlm_plugin.evaluation.scenes import SceneFacts, SceneObject

STAR = SceneObject("small", "red", "star", (0, 0, 12, 12))
BALL = SceneObject("large", "red", "circle", (30, 30, 54, 54))
CROSS = SceneObject("small", "blue", "cross", (50, 0, 62, 12))
SCENE = SceneFacts((STAR, BALL, CROSS), "white")
CAPTION = "on a white background a small red star is above a large red circle with a small blue cross right of both"
WORDS = CAPTION.split()


def peak(row: int, column: int, grid: int = 8) -> Tensor:
    values = torch.full((grid, grid), 0.1)
    values[row, column] = 1.0
    return values


def test_a_patch_is_in_a_box_that_holds_its_centre() -> None:
    # Centres at 4, 12, 20, ... pixels; the right and lower sides of a box are outside.
    inside = patches_in([(0, 4, 12, 5)], 8, 64)
    assert inside.nonzero().tolist() == [[0, 0]]
    assert patches_in([(0, 4, 13, 5)], 8, 64).nonzero().tolist() == [[0, 0], [0, 1]]
    assert not patches_in([(5, 5, 11, 11)], 8, 64).any()
    # The same picture stored twice as large.
    assert torch.equal(patches_in([(0, 8, 26, 10)], 8, 128), patches_in([(0, 4, 13, 5)], 8, 64))


def test_several_boxes_are_joined() -> None:
    both = patches_in([STAR.box, BALL.box], 8, 64)
    assert torch.equal(both, patches_in([STAR.box], 8, 64) | patches_in([BALL.box], 8, 64))


def test_words_are_said_of_the_object_whose_name_they_stand_in() -> None:
    mentions = find_mentions(WORDS, SCENE)
    said = [(WORDS[mention.place], mention.kind, mention.owner.shape, len(mention.boxes)) for mention in mentions]
    assert said == [
        ("small", "size", "star", 2),
        ("red", "colour", "star", 2),
        ("star", "shape", "star", 1),
        ("large", "size", "circle", 1),
        ("red", "colour", "circle", 2),
        ("circle", "shape", "circle", 1),
        ("small", "size", "cross", 2),
        ("blue", "colour", "cross", 1),
        ("cross", "shape", "cross", 1),
    ]
    assert mentions[1].boxes == [STAR.box, BALL.box]


def test_words_of_another_scene_or_cut_captions_mention_nothing() -> None:
    assert find_mentions(["a", "small", "red", "square"], SCENE) == []
    assert find_mentions(["small", "red"], SCENE) == []


def test_a_hit_is_the_largest_patch_in_the_box_of_an_object_that_has_the_word() -> None:
    mentions = {(m.kind, m.owner.shape): m for m in find_mentions(WORDS, SCENE)}
    red = mentions["colour", "star"]
    on_star, on_ball, on_cross = peak(0, 0), peak(5, 4), peak(0, 6)
    star_patches, ball_patches = 1, 9
    assert judge(red, on_star, on_cross, 7, 64) == Judgement(
        7, "colour", True, True, False, (star_patches + ball_patches) / 64, star_patches / 64, 2 / 3
    )
    assert judge(red, on_ball, on_star, 7, 64)[2:5] == (True, False, True)
    assert judge(red, on_cross, on_star, 7, 64)[2:5] == (False, False, True)
    assert judge(mentions["shape", "star"], on_ball, on_cross, 7, 64)[2:5] == (False, False, False)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_a_map_of_nothing_points_nowhere(value: float) -> None:
    star = find_mentions(WORDS, SCENE)[0]
    assert judge(star, torch.full((8, 8), value), torch.full((8, 8), value), 0, 64)[2:5] == (False, False, False)


def test_figures_are_shares_by_kind() -> None:
    rows = [
        Judgement(0, "colour", True, True, False, 0.1, 0.1, 0.5),
        Judgement(0, "colour", True, False, True, 0.3, 0.1, 1.0),
        Judgement(1, "colour", False, False, False, 0.0, 0.0, 0.6),
        Judgement(1, "shape", True, True, False, 0.2, 0.2, 0.5),
    ]
    figures = pointing_figures(rows)
    assert set(figures) == {"all", "colour", "shape"}
    assert figures["all"]["accuracy"] == pytest.approx(3 / 4)
    # Residuals sum to 1/2 and -1/2 in the two pictures: sqrt((1/4 + 1/4) * 2 / 1) / 4.
    assert figures["all"]["accuracy_se"] == pytest.approx(1 / 4)
    colour = figures["colour"]
    assert colour["accuracy"] == pytest.approx(2 / 3)
    assert colour["owner"] == pytest.approx(1 / 3)
    assert colour["other_picture"] == pytest.approx(1 / 3)
    assert colour["chance"] == pytest.approx(0.4 / 3)
    assert colour["chance_owner"] == pytest.approx(0.2 / 3)
    assert colour["chance_object"] == pytest.approx(0.7)
    assert colour["reachable"] == pytest.approx(2 / 3)
    assert colour["words"] == 3


def test_no_mention_is_an_error() -> None:
    with pytest.raises(ValueError, match="no caption says"):
        pointing_figures([])
