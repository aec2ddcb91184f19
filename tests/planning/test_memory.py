import dataclasses
import gc

import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY
from torch import nn

from mvlm_plugin.criterions.joint_masked_vl import JointMaskedVLCriterionConfig
from mvlm_plugin.planning.fit import FREE_SHARE, MemoryOf
from mvlm_plugin.planning.memory import StorageTracker, step_memory
from mvlm_plugin.planning.step import StepOptions
from tests.helpers import tiny_config
from tests.planning.measure_peak import measure

MIB = 2**20


def options(**changes: object) -> StepOptions:
    step = StepOptions(tiny_config(), JointMaskedVLCriterionConfig(), 45, 10)
    return dataclasses.replace(step, **changes)


@pytest.mark.parametrize(
    ("architecture", "pairs", "overrides"),
    [("mvlm_tiny", 32, {}), ("mvlm_mini", 16, {"checkpoint_activations": "all"})],
)
def test_the_plan_is_what_a_process_really_needs(architecture: str, pairs: int, overrides: dict[str, str]) -> None:
    cfg = MODEL_DATACLASS_REGISTRY[architecture](**overrides)
    planned = step_memory(StepOptions(cfg, JointMaskedVLCriterionConfig(), 8000), pairs).total
    measured = measure(architecture, 8000, pairs, **overrides)
    assert planned == pytest.approx(measured, rel=0.15), f"{planned / MIB:.0f} MiB, measured {measured / MIB:.0f} MiB"


def test_a_storage_counts_once_and_until_nobody_needs_it() -> None:
    layer = nn.Linear(4, 4)
    with StorageTracker(layer) as tracker, torch.no_grad():
        a = torch.ones(256)  # 1024 bytes
        view = a.view(16, 16)
        b = a + 1
        del a
        gc.collect()
        del view, b
        gc.collect()
        torch.ones(128)
    assert sum(tracker.at_peak.values()) == 2048
    assert tracker.live.total() == 0


def test_checkpointing_cache_and_bfloat16_save_and_accumulation_costs() -> None:
    plain = step_memory(options(), 64).total
    assert step_memory(options(model=tiny_config(checkpoint_activations="all")), 64).total < 0.7 * plain
    assert step_memory(options(feature_cache_chunk=16), 64).total < 0.7 * plain
    assert step_memory(options(autocast="bf16"), 64).total < 0.9 * plain
    assert step_memory(options(), 64, accumulates=True).total > plain


def test_weights_and_averages_are_those_of_what_is_trained() -> None:
    step = options(model=tiny_config(frozen_image_stages=2))
    model, _ = step.build("meta")
    trained = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
    memory = step_memory(step, 4)
    assert memory.optimizer == 2 * trained
    assert memory.weights > 4 * sum(p.numel() for p in model.parameters())


def test_the_most_pairs_fit_and_nearly_no_more() -> None:
    memory = MemoryOf(options(), 1, "cpu")
    size = int(memory.total(100) / (1 - FREE_SHARE)) + 1
    assert 97 <= memory.largest(size) <= 100
    assert memory.largest(memory.total(1)) == 0


def test_a_cached_step_is_extrapolated_as_it_is_counted() -> None:
    memory = MemoryOf(options(feature_cache_chunk=8), 1, "cpu")
    counted = step_memory(options(feature_cache_chunk=8), 48)
    assert memory.total(48) == pytest.approx(counted.total, rel=0.03)


def test_several_processes_hold_gradients_twice() -> None:
    alone, both = MemoryOf(options(), 1, "cpu"), MemoryOf(options(), 2, "cpu")
    assert both.total(8) - alone.total(8) == alone.step(8).trained
