"""Nothing in forward and backward makes the host wait for the device.

Run on the CPU, where nothing waits, by refusing the operations that would wait on a GPU. The optimizer's step and the
gradient norm are fairseq's (clipping reads the norm once an update) and not looked at here.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mvlm_plugin.losses.negatives import NO_PAIR
from mvlm_plugin.registry import FUSIONS, IMAGE_DECODERS
from tests.helpers import make_batch, make_criterion, make_model, tiny_config

WAITING_METHODS = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__contains__"}
# By name in torch.ops.aten; their sizes depend on values, or they bring a value to the host.
WAITING_OPERATIONS = {
    "_local_scalar_dense", "is_nonzero", "nonzero", "nonzero_static", "argwhere", "masked_select", "masked_scatter",
    "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount", "equal", "allclose",
}  # fmt: skip


class NoWaitingMethods(TorchFunctionMode):
    """Refuses methods of tensors that need not pass through the dispatcher, e.g. tolist."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        to_host = name == "to" and "cpu" in [*map(str, args[1:]), *map(str, (kwargs or {}).values())]
        if name in WAITING_METHODS or to_host:
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


class NoWaitingOperations(TorchDispatchMode):
    """Refuses operations, in forward and backward, that wait for the device."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation._schema.name.removeprefix("aten::")
        waits = name in WAITING_OPERATIONS
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            waits = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if name == "repeat_interleave" and operation._overloadname == "Tensor":
            waits = (kwargs or {}).get("output_size") is None
        if waits:
            raise AssertionError(f"{name} waits for the device")
        return operation(*args, **(kwargs or {}))


def step(model: nn.Module, sample: dict[str, Any]) -> None:
    """Forward, losses and backward without waiting."""
    criterion = make_criterion()
    with NoWaitingMethods(), NoWaitingOperations():
        loss, _, _ = criterion(model, sample)
        loss.backward()
    assert loss.isfinite()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


VARIANTS: list[dict[str, Any]] = [
    {},
    {"dropout": 0.1},
    {"mask_both": True},
    {"global_negatives": True},
    {"visible_patches_only": True, "global_negatives": True},
    {"frozen_image_stages": 2, "checkpoint_activations": "all"},
    *({"fusion": name} for name in FUSIONS.names()),
    *({"image_decoder": name} for name in IMAGE_DECODERS.names()),
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options)) or "defaults")
def test_the_step_does_not_wait_for_the_device(options: dict[str, Any]) -> None:
    cfg = tiny_config(**options)
    step(make_model(cfg), make_batch(cfg, image_ids=[0, 1, 1, 2]))


def test_rows_that_are_no_pairs_do_not_make_it_wait() -> None:
    cfg = tiny_config(global_negatives=True)
    sample = make_batch(cfg)
    sample["net_input"]["image_ids"][1] = NO_PAIR
    step(make_model(cfg), sample)


def test_autocast_does_not_make_it_wait() -> None:
    cfg = tiny_config()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(make_model(cfg), make_batch(cfg))


WAITING: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "bool": lambda x: bool(x.sum() > 0),
    "max of Python": lambda x: max(x.flatten()),
    "to the host": lambda x: x.to("cpu"),
    "nonzero": lambda x: (x > 0).nonzero(),
    "boolean index": lambda x: x[x > 0],
    "boolean assignment": lambda x: x.clone().index_put_((x > 0,), x.new_ones(1)),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.arange(len(x)), dim=0),
}


# Methods are seen in the forward pass only, operations in both.
CASES = [("forward", name) for name in WAITING] + [
    ("backward", name) for name in WAITING if name not in ("tolist", "to the host")
]


@pytest.mark.parametrize(("when", "operation"), CASES)
def test_what_waits_is_found(when: str, operation: str) -> None:
    class Waits(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            if when == "forward":
                WAITING[operation](x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            if when == "backward":
                WAITING[operation](gradient)
            return gradient

    cfg = tiny_config()
    model = make_model(cfg)
    model.image_encoder.register_forward_hook(lambda _, __, output: Waits.apply(output))
    with pytest.raises(AssertionError, match="waits for the device"):
        step(model, make_batch(cfg))
