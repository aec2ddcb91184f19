import pytest
import torch
import torch.nn.functional as F
from fairseq import metrics

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterion
from tests.helpers import make_batch, make_criterion, make_model, tiny_config


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg).eval(), make_batch(cfg)
    torch.manual_seed(1)
    loss, size, log = make_criterion(mlm=2.0, mim=0.5, itc=1.0, itm=3.0)(model, sample)
    expected = 2 * log["mlm_loss"] + 0.5 * log["mim_loss"] + log["itc_loss"] + 3 * log["itm_loss"]
    assert size == 4
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert log["loss"].item() == pytest.approx(loss.item())


@pytest.mark.parametrize(("name", "rest"), [("mlm", "mim"), ("mim", "mlm"), ("itc", "mlm"), ("itm", "mlm")])
def test_a_weight_of_0_takes_its_loss_away_and_leaves_the_others(name: str, rest: str) -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg).eval(), make_batch(cfg)
    _, _, everything = make_criterion()(model, sample)
    _, _, log = make_criterion(**{name: 0.0})(model, sample)
    assert f"{name}_loss" not in log
    assert log[f"{rest}_loss"].item() == pytest.approx(everything[f"{rest}_loss"].item(), rel=1e-5)


@pytest.mark.parametrize("image_ids", [[1, 1, 1, 1], [1, 2, 3, 4]], ids=["no negatives", "negatives"])
def test_matching_is_a_mean_over_the_pairs_there_are(image_ids: list[int]) -> None:
    cfg = tiny_config()
    model, sample = make_model(cfg).eval(), make_batch(cfg, image_ids=image_ids)
    torch.manual_seed(1)
    output = model(**sample["net_input"], objectives=("itm",))
    pairs = 12 if image_ids[0] != image_ids[1] else 4  # own pairs come first
    expected = F.cross_entropy(output.itm.logits[:pairs], output.itm.labels[:pairs])
    torch.manual_seed(1)
    loss, size, log = make_criterion(mlm=0, mim=0, itc=0)(model, sample)
    assert log["itm_pairs"] == pairs
    assert loss.item() / size == pytest.approx(expected.item(), rel=1e-5)


def test_one_pair_alone_gives_finite_losses_and_gradients() -> None:
    cfg = tiny_config()
    model = make_model(cfg)
    loss, _, log = make_criterion()(model, make_batch(cfg, words=(1,)))
    loss.backward()
    assert loss.isfinite()
    assert log["itc_loss"] == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_captions_without_words_give_finite_losses_and_gradients() -> None:
    cfg = tiny_config()
    model = make_model(cfg)
    loss, _, log = make_criterion()(model, make_batch(cfg, words=(0, 0, 0)))
    loss.backward()
    assert log["mlm_loss"] == 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("weights", [{"mlm": -1.0}, {"mlm": 0, "mim": 0, "itc": 0, "itm": 0}])
def test_weights_that_cannot_be_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="--itm-weight: none negative, and not all 0"):
        make_criterion(**weights)


def test_metrics_are_means_over_the_pairs_of_all_batches() -> None:
    cfg = tiny_config()
    model = make_model(cfg).eval()
    logs = [make_criterion()(model, make_batch(cfg, words))[2] for words in ((5, 3, 8), (2, 9))]
    with metrics.aggregate() as aggregated:
        JointMaskedVLCriterion.reduce_metrics(logs)
    values = aggregated.get_smoothed_values()
    for name in ("loss", "mlm_loss", "mim_loss", "itc_loss", "itm_loss"):
        assert values[name] == pytest.approx(sum(float(log[name]) for log in logs) / 5, abs=1e-5)
    assert values["temperature"] == pytest.approx(0.07)
    masked = sum(log["mlm_masked"] for log in logs)
    assert values["mlm_acc"] == pytest.approx(sum(int(log["mlm_correct"]) for log in logs) / masked, abs=1e-5)
    assert values["itm_acc"] == pytest.approx(sum(int(log["itm_correct"]) for log in logs) / 15, abs=1e-5)
    assert values["bad_images"] == 0


def test_all_log_entries_are_sums() -> None:
    cfg = tiny_config()
    model = make_model(cfg).eval()
    criterion = make_criterion(itm=0, itc=0)
    whole = criterion(model, make_batch(cfg))[2]
    doubled = criterion(model, twice(make_batch(cfg)))[2]
    for name, value in whole.items():
        assert float(doubled[name]) == pytest.approx(2 * float(value), rel=1e-5)
    assert criterion.logging_outputs_can_be_summed()


def twice(sample: dict) -> dict:
    """A batch with every pair in it twice."""
    inputs = sample["net_input"]
    doubled = {name: torch.cat([value, value]) for name, value in inputs.items()}
    doubled["mlm_positions"][len(inputs["mlm_positions"]) :] += inputs["tokens"].numel()
    return {
        "net_input": doubled,
        "mlm_targets": sample["mlm_targets"].repeat(2),
        **{name: 2 * sample[name] for name in ("nsentences", "ntokens", "bad_images")},
    }
