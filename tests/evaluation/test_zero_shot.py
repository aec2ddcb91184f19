import math

import pytest
import torch
import torch.nn.functional as F

from mvlm_plugin.evaluation.scenes import SceneFacts, SceneObject
from mvlm_plugin.evaluation.zero_shot import (
    classification_figures,
    contrastive_scores,
    fill,
    matching_scores,
    scene_questions,
)
from tests.helpers import make_batch, make_model, roughen, tiny_config


def thing(colour: str, shape: str) -> SceneObject:
    return SceneObject("small", colour, shape, (0, 0, 12, 12))


SCENES = [
    SceneFacts((thing("red", "star"), thing("blue", "star")), "white"),
    SceneFacts((thing("red", "circle"), thing("red", "star")), "black"),
]


def test_prompts_of_a_class_stand_together() -> None:
    assert fill(["a {}", "the {} {}"], ["dog", "cat"]) == ["a dog", "the dog dog", "a cat", "the cat cat"]


def test_only_what_has_one_answer_is_asked() -> None:
    topics = scene_questions(SCENES)
    colours, of_colour = topics["colour"]
    assert colours == ["blue", "red"]
    # Scene 0 has two stars: no question for the colour of its star.
    assert of_colour == [(["a {} circle"], [1], [1]), (["a {} star"], [1], [1])]
    shapes, of_shape = topics["shape"]
    assert shapes == ["circle", "star"]
    assert of_shape == [(["a blue {}"], [0], [1]), (["a red {}"], [0], [1])]
    assert topics["background"] == (["black", "white"], [(["a {} background"], [0, 1], [1, 0])])


def test_contrastive_scores_compare_with_the_mean_of_a_classs_prompts() -> None:
    model = roughen(make_model(tiny_config())).eval()
    inputs = make_batch(model.cfg, (5, 3, 8, 1))["net_input"]
    image = model.encode_image(model.normalize(inputs["images"][:3]))
    scores = contrastive_scores(model, image, inputs["tokens"], 2)
    texts = model.embed_text(model.encode_text(inputs["tokens"]))
    classes = torch.stack([F.normalize(texts[0] + texts[1], dim=0), F.normalize(texts[2] + texts[3], dim=0)])
    torch.testing.assert_close(scores, model.embed_image(image) @ classes.T)


def test_matching_scores_are_the_mean_log_odds_of_each_pair() -> None:
    model = roughen(make_model(tiny_config())).eval()
    inputs = make_batch(model.cfg, (5, 3, 8, 1))["net_input"]
    tokens = inputs["tokens"]
    image = model.encode_image(model.normalize(inputs["images"][:3]))
    scores = matching_scores(model, image, tokens, 2)
    text = model.encode_text(tokens)
    for i in range(3):
        odds = []
        for j in range(4):
            row = torch.tensor([0])
            pair = (image[i : i + 1], text[j : j + 1], tokens[j : j + 1].eq(model.padding_idx))
            odds.append(torch.logit(model.match(*pair, row, row).softmax(dim=1)[0, 1]))
        torch.testing.assert_close(scores[i], torch.stack([odds[0] + odds[1], odds[2] + odds[3]]) / 2)


def test_figures_by_hand() -> None:
    names = ["a", "b", "c", "d", "e", "f", "g"]
    scores = torch.tensor(
        [
            [7.0, 6, 5, 4, 3, 2, 1],  # a, right
            [7.0, 6, 5, 4, 3, 2, 1],  # b, taken for a, among the first five
            [7.0, 6, 5, 4, 3, 2, 1],  # f, taken for a, the sixth
            [5.0, 5, 0, 0, 0, 0, 0],  # b, ties with a: not found
        ]
    )
    labels = torch.tensor([0, 1, 5, 1])
    figures = classification_figures(scores, labels, torch.arange(4), names)
    assert figures["top1"] == pytest.approx(1 / 4)
    assert figures["top1_se"] == pytest.approx(math.sqrt(3 / 4 * 1 / 4 / 3))
    assert figures["top5"] == pytest.approx(3 / 4)
    assert figures["asked"] == 4
    assert figures["chance"] == pytest.approx(1 / 7)
    assert figures["most_frequent"] == pytest.approx(1 / 2)
    assert figures["per_class"] == {"a": 1.0, "b": 0.0, "f": 0.0}
    expected = torch.zeros(7, 7, dtype=torch.int64)
    expected[0, 0], expected[1, 0], expected[5, 0] = 1, 2, 1
    assert figures["confusion"] == expected.tolist()


def test_equal_scores_find_nothing() -> None:
    figures = classification_figures(torch.zeros(6, 3), torch.tensor([0, 1, 2] * 2), torch.arange(6), ["a", "b", "c"])
    assert figures["top1"] == 0
    assert "top5" not in figures
    assert sum(figures["confusion"][i][i] for i in range(3)) == 0


def test_nothing_asked_and_scores_that_are_no_numbers_are_errors() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="no image"):
        classification_figures(torch.zeros(0, 2), none, none, ["a", "b"])
    with pytest.raises(ValueError, match="training diverged"):
        classification_figures(torch.full((1, 2), math.nan), torch.tensor([0]), torch.tensor([0]), ["a", "b"])
