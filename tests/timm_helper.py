"""timm for tests: importable beside a torchvision whose compiled operators do not fit the installed torch."""

import importlib
import importlib.util
from types import ModuleType

import pytest
import torch

# What torchvision's Python files refer to while they are imported, and only its compiled part declares.
OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare_torchvision_operators() -> None:
    """Let torchvision be imported: timm's backbones use none of its operators."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in OPERATORS:
            torch.library.define(f"torchvision::{name}", SCHEMA)


def import_timm() -> ModuleType:
    """timm; the calling test (or test file) is skipped where it is not installed."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("needs timm: pip install 'mvlm-plugin[timm]'", allow_module_level=True)
    declare_torchvision_operators()
    return importlib.import_module("timm")
