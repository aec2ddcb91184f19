import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from mvlm_plugin.planning.operations import PAIRS, FlopCounter, count_step
from mvlm_plugin.planning.parts import PARTS, PartFollower
from mvlm_plugin.planning.step import StepOptions
from tests.helpers import make_model, tiny_config


def options(vocabulary: int = 45, **overrides: object) -> StepOptions:
    return StepOptions(tiny_config(**overrides), JointMaskedVLCriterionConfig(), vocabulary, tokens=10)


def test_the_total_is_what_torch_counts_and_parts_add_up_to_it() -> None:
    step = options()
    model, criterion = step.build("meta")
    with FlopCounterMode(display=False) as counter:
        step.run(model, criterion, step.batch(PAIRS), "meta")
    cost = count_step(step)
    assert cost.gflops * PAIRS * 1e9 == pytest.approx(counter.get_total_flops())
    assert sum(cost.part_gflops.values()) == pytest.approx(cost.gflops)
    assert min(cost.part_gflops.values()) > 0


def test_a_part_is_forward_and_twice_that_backward() -> None:
    step = options()
    model, _ = step.build("meta")
    images, mask = torch.empty(PAIRS, 3, 32, 32, device="meta"), torch.empty(2 * PAIRS, 16, device="meta").bool()
    with FlopCounterMode(display=False) as counter:
        model.image_encoder(images, mask)
    # The pixels need no gradient: the patch embedding's backward is one product, not two.
    embedding = 2 * PAIRS * 16 * 3 * 8 * 8 * 128
    expected = 3 * counter.get_total_flops() - embedding
    assert count_step(step).part_gflops["image_encoder"] * PAIRS * 1e9 == pytest.approx(expected)


def test_checkpointing_computes_most_of_forward_twice() -> None:
    plain, checkpointed = count_step(options()), count_step(options(checkpoint_activations="image_encoder"))
    ratio = {part: checkpointed.part_gflops[part] / plain.part_gflops[part] for part in PARTS}
    # Of a block's 12 width ** 2 products all but the last 4, whose result the backward pass does not need.
    assert ratio["image_encoder"] == pytest.approx(1 + 8 / 12 / 3, rel=0.02)
    assert ratio["fusion"] == pytest.approx(1)


def test_parameters_are_the_models() -> None:
    cost = count_step(options())
    model = make_model(tiny_config())
    assert cost.parameters == sum(p.numel() for p in model.parameters()) == sum(cost.part_parameters.values())
    assert cost.part_parameters["fusion"] == sum(p.numel() for p in model.fusion.parameters())


def test_groups_of_a_convolution_are_not_mixed_backward() -> None:
    layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)).to("meta")
    x = torch.empty(1, 8, 5, 5, device="meta", requires_grad=True)
    with FlopCounter(PartFollower(layer)) as counter:
        layer(x).sum().backward()
    assert counter.flops.total() == 3 * (2 * 8 * 25 * 9)
