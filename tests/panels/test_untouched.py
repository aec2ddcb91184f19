"""Nothing of a model or of a process is another after it was looked at."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mvlm_plugin.distributed import rank, world_size
from mvlm_plugin.panels.untouched import untouched
from tests.helpers import make_batch, make_model, tiny_config


class Doubling(nn.Module):
    """A module that torch.compile does not leave to torch, as it does its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def seeded() -> None:
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)


def test_random_numbers_modes_and_statistics_are_as_before() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    model[2].eval()  # one module in another mode than the rest
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seeded()
    expected = draws()
    seeded()
    inside = []
    for _ in range(2):
        with untouched(model):
            assert not any(module.training for module in model.modules())
            model(torch.randn(8, 4)).sum()
            inside.append(float(torch.rand(())))
    assert inside[0] == inside[1]
    assert draws() == expected
    assert [module.training for module in model] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_temperature_is_not_brought_into_its_range() -> None:
    model = make_model(tiny_config())
    with torch.no_grad():
        model.contrastive.log_temperature.fill_(3.0)
    with untouched(model):
        model(**make_batch(model.cfg)["net_input"])
    assert model.contrastive.log_temperature.item() == 3.0
    model(**make_batch(model.cfg)["net_input"])
    assert model.contrastive.log_temperature.item() < 0


def test_what_was_compiled_is_neither_used_nor_compiled_anew() -> None:
    shapes = []

    def backend(graph: Any, inputs: list[Any]) -> Any:
        shapes.append(inputs)
        return graph.forward

    model = Doubling()
    model.compile(backend=backend)
    with untouched(model):
        model(torch.ones(3, 4))
    assert not shapes
    model(torch.ones(3, 4))
    with untouched(model), torch.no_grad():
        model(torch.ones(2, 4))
    assert len(shapes) == 1


def test_all_is_as_before_when_something_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 5)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    seeded()
    expected = draws()
    seeded()

    def look() -> None:
        with untouched(model):
            assert (world_size(), rank()) == (1, 0)
            draws()
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        look()
    assert draws() == expected
    assert model.training
    assert (world_size(), rank()) == (5, 2)
