import copy
import math
from typing import Any

import pytest
import torch
from fairseq.optim.lr_scheduler.cosine_lr_scheduler import CosineLRSchedule, CosineLRScheduleConfig
from torch import Tensor, nn

from mvlm_plugin.models.parameter_groups import tag_of
from mvlm_plugin.optim.adamw_parts import AdamWParts
from tests.helpers import assert_same_tensors
from tests.optim.helpers import RATES, make_optimizer, make_rough_model, set_gradients, update


def parameters(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def rates(optimizer: AdamWParts) -> dict[str, float]:
    """Learning rate of each part; all groups of a part have the same."""
    found = {(group["part"], group["lr"]) for group in optimizer.param_groups}
    assert len(found) == len(dict(found))
    return dict(found)


def test_steps_equal_hand_written_adamw() -> None:
    model = make_rough_model()
    optimizer = make_optimizer(model, weight_decay=0.3, adamw_betas=[0.8, 0.9], adamw_eps=1e-6)
    expected = {name: value.double() for name, value in parameters(model).items()}
    first = {name: torch.zeros_like(value) for name, value in expected.items()}
    second = {name: torch.zeros_like(value) for name, value in expected.items()}
    tags = {name: tag_of(parameter) for name, parameter in model.named_parameters()}
    for step in (1, 2, 3):
        optimizer.set_lr(0.1 * step)
        update(model, optimizer, step)
        for name, parameter in model.named_parameters():
            rate = 0.1 * step * RATES[tags[name].part] / RATES["main"]
            gradient = parameter.grad.double()
            first[name] = 0.8 * first[name] + 0.2 * gradient
            second[name] = 0.9 * second[name] + 0.1 * gradient**2
            mean, square = first[name] / (1 - 0.8**step), second[name] / (1 - 0.9**step)
            decay = 0.3 if tags[name].decay else 0.0
            expected[name] = expected[name] * (1 - rate * decay) - rate * mean / (square.sqrt() + 1e-6)
    assert_same_tensors(parameters(model), {name: value.float() for name, value in expected.items()}, 1e-5)


def test_fused_steps_equal_plain_ones() -> None:
    models = [make_rough_model(), make_rough_model()]
    fused, plain = (make_optimizer(model) for model in models)
    assert all(group["fused"] for group in fused.param_groups)
    for group in plain.param_groups:
        group["fused"] = False
    for step in range(3):
        update(models[0], fused, step)
        update(models[1], plain, step)
    assert_same_tensors(parameters(models[0]), parameters(models[1]), 1e-6)


def test_the_schedule_scales_all_parts_alike() -> None:
    model = make_rough_model()
    optimizer = make_optimizer(model)
    cfg = CosineLRScheduleConfig(lr=[3e-4], min_lr=3e-5, warmup_updates=5, warmup_init_lr=0.0, max_update=25)
    schedule = CosineLRSchedule(cfg, optimizer)
    for done in range(25):
        schedule.step_update(done)
        share = done / 5 if done < 5 else 0.1 + 0.9 * (1 + math.cos(math.pi * (done - 5) / 20)) / 2
        assert rates(optimizer) == pytest.approx({part: share * rate for part, rate in RATES.items()})
        assert optimizer.get_lr() == pytest.approx(share * 3e-4)


def test_encoders_without_a_rate_have_the_main_one() -> None:
    optimizer = make_optimizer(make_rough_model(), image_encoder_lr=None, text_encoder_lr=None)
    optimizer.set_lr(0.5)
    assert rates(optimizer) == dict.fromkeys(RATES, 0.5)


def test_frozen_parameters_stay_out() -> None:
    model = make_rough_model()
    for module in (model.fusion, model.image_decoder, model.contrastive, model.matching, model.mlm_head):
        module.requires_grad_(False)
    before = parameters(model)
    optimizer = make_optimizer(model)
    assert optimizer.get_lr() == pytest.approx(3e-4)  # also where nothing of the main part is trained
    update(model, optimizer, 0)
    changed = {name for name, value in parameters(model).items() if not torch.equal(value, before[name])}
    assert changed == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in changed} == {"image_encoder", "text_encoder"}


@pytest.mark.parametrize("regroup", [False, True])
def test_resumed_steps_equal_uninterrupted_ones(regroup: bool) -> None:
    """With ``regroup`` the resumed optimizer decays other parameters, so that its groups are ordered differently."""
    model = make_rough_model()
    optimizer = make_optimizer(model, weight_ema=0.9)
    optimizer.set_lr(2e-4)
    for step in range(2):
        update(model, optimizer, step)
    resumed = copy_with_tags(model, regroup)
    again = make_optimizer(resumed, weight_ema=0.9)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()), {})
    assert again.get_lr() == optimizer.get_lr()
    for name, state in states(optimizer).items():
        assert_same_tensors(states(again)[name], state, 0.0)
    if not regroup:
        for step in range(2, 4):
            update(model, optimizer, step)
            update(resumed, again, step)
        assert_same_tensors(parameters(resumed), parameters(model), 0.0)


def copy_with_tags(model: nn.Module, regroup: bool) -> Any:
    """A model with the same weights; with ``regroup``, one matrix is not decayed."""
    twin = make_rough_model()
    twin.load_state_dict(model.state_dict())
    if regroup:
        weight = twin.fusion.image_stream.blocks[0].self_attention.query.weight
        weight.mvlm_tag = tag_of(weight)._replace(decay=False)
    return twin


def states(optimizer: AdamWParts) -> dict[str, dict[str, Tensor]]:
    """What the optimizer keeps of each parameter, by name."""
    return {
        name: optimizer.optimizer.state[parameter]
        for group in optimizer.param_groups
        for name, parameter in zip(group["param_names"], group["params"], strict=True)
    }


def test_resuming_takes_options_from_the_command_line() -> None:
    model = make_rough_model()
    optimizer = make_optimizer(model, weight_ema=0.9)
    update(model, optimizer, 0)
    again = make_optimizer(model, weight_decay=0.2, image_encoder_lr=6e-5, adamw_betas=[0.5, 0.6])
    again.load_state_dict(optimizer.state_dict(), {})
    assert rates(again) == pytest.approx({"main": 3e-4, "image_encoder": 6e-5, "text_encoder": 2e-5})
    assert {group["weight_decay"] for group in again.param_groups} == {0.0, 0.2}
    assert all(group["betas"] == (0.5, 0.6) for group in again.param_groups)
    assert all("weight_ema" not in state for state in states(again).values())


def test_resuming_with_other_trained_parameters_names_them() -> None:
    model = make_rough_model()
    model.image_encoder.requires_grad_(False)
    optimizer = make_optimizer(model)
    update(model, optimizer, 0)
    model.image_encoder.requires_grad_(True)
    with pytest.raises(ValueError, match=r"image_encoder.* others were not trained before.*--reset-optimizer"):
        make_optimizer(model).load_state_dict(optimizer.state_dict(), {})
    model.image_encoder.requires_grad_(False)
    model.contrastive.log_temperature.requires_grad_(False)
    with pytest.raises(ValueError, match=r"resume: contrastive.log_temperature are not trained any more"):
        make_optimizer(model).load_state_dict(optimizer.state_dict(), {})


def test_overrides_are_refused_on_resume() -> None:
    optimizer = make_optimizer(make_rough_model())
    with pytest.raises(ValueError, match="leave --optimizer-overrides away"):
        optimizer.load_state_dict(optimizer.state_dict(), {"weight_decay": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": [0.0]}, r"--lr 0\.0 must be above 0"),
        ({"image_encoder_lr": 0.0}, r"--image-encoder-lr 0\.0 must be above 0"),
        ({"text_encoder_lr": -1.0}, r"--text-encoder-lr -1\.0 must be above 0"),
        ({"weight_ema": 1.0}, r"--weight-ema 1\.0 must lie between 0 and 1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer(make_rough_model(), **options)


def test_clipping_bounds_the_norm_over_all_parts() -> None:
    model = make_rough_model()
    optimizer = make_optimizer(model)
    set_gradients(model, 0)
    before = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
    assert optimizer.clip_grad_norm(1.0) == pytest.approx(float(before), rel=1e-4)
    after = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
    assert float(after) == pytest.approx(1.0, rel=1e-4)
