from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mvlm_plugin.evaluation.pretraining import COLUMNS, evaluate_group, other_partners
from mvlm_plugin.models.mvlm import MvlmModel
from mvlm_plugin.modules.patches import patchify
from tests.helpers import make_batch, make_criterion, make_model, roughen, tiny_config


@pytest.mark.parametrize(
    ("image_ids", "rows", "found"),
    [
        ([5, 6, 7], [1, 2, 0], [True] * 3),
        ([5, 5, 6, 5], [2, 2, 3, 2], [True] * 4),
        ([5, 6, 6, 5], [1, 3, 3, 1], [True] * 4),
        ([5, 5], [0, 1], [False, False]),
        ([5], [0], [False]),
    ],
)
def test_the_partner_is_the_next_pair_of_another_image(
    image_ids: list[int], rows: list[int], found: list[bool]
) -> None:
    partner, has_partner = other_partners(torch.tensor(image_ids))
    assert partner.tolist() == rows
    assert has_partner.tolist() == found


def naive_losses(
    model: MvlmModel, sample: dict[str, Any], pair: int, mlm_image: int, mim_text: int
) -> tuple[float, float]:
    """MLM loss of a pair with the image of another, and its MIM loss with the text of another; one pair a pass."""
    inputs = sample["net_input"]
    lengths = inputs["tokens"].ne(model.padding_idx).sum(dim=1)
    pixels, mask = model.normalize(inputs["images"]), model.patch_mask(inputs["block_mask"])
    both = model.cfg.mask_both

    def image(row: int, masked: bool) -> Tensor:
        return model.encode_image(pixels[row : row + 1], mask[row : row + 1] if masked else None)

    def text(row: int, masked: bool) -> Tensor:
        return model.encode_text(inputs["masked_tokens" if masked else "tokens"][row : row + 1, : lengths[row]])

    tokens = inputs["tokens"][pair, : lengths[pair]]
    columns = inputs["mlm_positions"][inputs["mlm_positions"] // inputs["tokens"].size(1) == pair] % inputs[
        "tokens"
    ].size(1)
    unpadded = torch.zeros(1, len(tokens), dtype=torch.bool)
    context = model.fusion.text_stream.project(image(mlm_image, both))
    logits = model.predict_words(text(pair, True), unpadded, context, columns)
    mlm = F.cross_entropy(logits, tokens[columns]).item()
    unpadded = torch.zeros(1, int(lengths[mim_text]), dtype=torch.bool)
    predicted = model.predict_pixels(image(pair, True), text(mim_text, both), unpadded)
    target = patchify(pixels[pair : pair + 1], model.image_encoder.patch_size)
    if model.cfg.normalized_patches:
        target = (target - target.mean(dim=2, keepdim=True)) / target.std(dim=2, keepdim=True)
    return mlm, (predicted - target)[0, mask[pair]].abs().mean().item()


@pytest.mark.parametrize("options", [{}, {"mask_both": True}, {"normalized_patches": True}], ids=str)
@torch.no_grad()
def test_losses_and_gains_are_those_of_one_pair_at_a_time(options: dict[str, bool]) -> None:
    cfg = tiny_config(**options)
    model = roughen(make_model(cfg), scale=0.05).eval()
    sample = make_batch(cfg, words=(5, 3, 8, 1), image_ids=[4, 4, 9, 4])
    figures = dict(zip(COLUMNS, evaluate_group(model, sample).figures.T, strict=True))
    for pair, partner in enumerate([2, 2, 3, 2]):
        own = naive_losses(model, sample, pair, pair, pair)
        other = naive_losses(model, sample, pair, partner, partner)
        assert figures["mlm_loss"][pair].item() == pytest.approx(own[0], abs=1e-4)
        assert figures["mim_loss"][pair].item() == pytest.approx(own[1], abs=1e-4)
        assert figures["mlm_gain"][pair].item() == pytest.approx(other[0] - own[0], abs=1e-4)
        assert figures["mim_gain"][pair].item() == pytest.approx(other[1] - own[1], abs=1e-4)
        assert abs(other[0] - own[0]) > 1e-3  # so that a gain of the wrong pair would be seen


@torch.no_grad()
def test_losses_equal_those_of_the_criterion() -> None:
    cfg = tiny_config()
    model = roughen(make_model(cfg), scale=0.05).eval()
    sample = make_batch(cfg)
    figures = dict(zip(COLUMNS, evaluate_group(model, sample).figures.sum(dim=0).tolist(), strict=True))
    _, _, log = make_criterion(itm=0)(model, sample)
    for name in ("mlm_loss", "mim_loss", "itc_loss", "mlm_correct", "mlm_masked"):
        assert figures[name] == pytest.approx(float(log[name]), rel=1e-5)


@torch.no_grad()
def test_matching_counts_three_pairs_a_sample_and_fewer_without_negatives() -> None:
    cfg = tiny_config()
    model = make_model(cfg).eval()
    pairs = COLUMNS.index("itm_pairs")
    assert evaluate_group(model, make_batch(cfg)).figures[:, pairs].tolist() == [3.0] * 4
    alone = evaluate_group(model, make_batch(cfg, image_ids=[1, 1, 1, 1])).figures
    assert alone[:, pairs].tolist() == [1.0] * 4
    assert alone[:, COLUMNS.index("has_partner")].tolist() == [0.0] * 4
    assert alone.isfinite().all()


@torch.no_grad()
def test_two_runs_measure_alike() -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg).eval(), make_batch(cfg)
    first = evaluate_group(model, sample)
    torch.manual_seed(99)
    second = evaluate_group(model, sample)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@torch.no_grad()
def test_a_single_pair_can_be_measured() -> None:
    cfg = tiny_config()
    assert evaluate_group(make_model(cfg).eval(), make_batch(cfg, words=(3,))).figures.isfinite().all()
