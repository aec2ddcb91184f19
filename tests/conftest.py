"""Fixtures of all tests."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mvlm_plugin.tasks import pairs  # (and everything is registered)
from tests.helpers import write_databin

# Tiny tensors gain nothing from threads, and lose much where cores are shared.
torch.set_num_threads(1)
# Tasks are set up in this process, which must give memory back: other tests measure that of their children.
pairs.keep_freed_memory = lambda: False

# They measure the memory of processes forked from this one, which counts what this one holds: they come first.
MEASURE_MEMORY = ("test_prep_bombs.py", "test_memory.py", "test_sources_folder.py", "test_prep_hostile.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that measure memory run while this process is still small; the others keep their order."""
    items.sort(key=lambda item: item.path.name not in MEASURE_MEMORY)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def tiny_databin(tmp_path: Path) -> Path:
    """A data-bin of 24 pictures with 48 captions, of the splits train and valid; a test may damage it."""
    return write_databin(tmp_path / "databin")


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The package. A torchaudio or torchvision of another torch breaks its import; nothing here needs one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", None)
        patch.setitem(sys.modules, "torchvision", None)
        # Whoever imported it before, such as a benchmark whose options a test asked for, has found them.
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            del sys.modules[name]
        package = pytest.importorskip("transformers")
        package.RobertaModel, package.ViTModel  # noqa: B018  (import them now)
    return package
