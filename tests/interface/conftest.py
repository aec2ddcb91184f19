"""A small model, saved as fairseq saves one, and the tokenizer that it belongs to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.data import Dictionary

from mvlm_plugin.data.tokenizers import load_dictionary
from mvlm_plugin.interface import VisionLanguageModel, load
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import roughen, tiny_config
from tests.tokenizer_folders import write_sentencepiece


def model_dictionary(databin: Path) -> Dictionary:
    """The dictionary of a model that is trained on a data-bin."""
    dictionary = load_dictionary(databin)
    dictionary.add_symbol("<mask>")
    return dictionary


def save_checkpoint(
    path: Path, databin: Path, model: MvlmModel | None = None, task: str = "joint_masked_vl", **options: Any
) -> Path:
    """What load() reads of a checkpoint; ``options`` are those of the task."""
    model = model or tiny_model(databin)
    cfg = {"_name": "mvlm_tiny"} | {key: value for key, value in vars(model.cfg).items() if not key.startswith("_")}
    content = {
        "cfg": {"model": cfg, "task": {"_name": task, "data": str(databin), **options}, "checkpoint": {}},
        "model": model.state_dict(),
        "optimizer_history": [{"criterion_name": "JointMaskedVLCriterion", "num_updates": 7}],
    }
    torch.save(content, path)
    return path


def tiny_model(databin: Path, **overrides: Any) -> MvlmModel:
    """mvlm_tiny on 32 pixels (16 patches), with weights that make every part count."""
    torch.manual_seed(0)
    model = MvlmModel(tiny_config(**overrides), model_dictionary(databin))
    roughen(model, 0.05)
    return model.eval()


@pytest.fixture(scope="session")
def databin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data-bin without pairs: load() needs its tokenizer alone."""
    return write_sentencepiece(tmp_path_factory.mktemp("interface"))


@pytest.fixture(scope="session")
def checkpoint(databin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt", databin)


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> VisionLanguageModel:
    return load(checkpoint, device="cpu")
