"""transformers, as the reference."""

import sys
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    """The package. A torchaudio of another torch version breaks its import; nothing here needs one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", None)
        package = pytest.importorskip("transformers")
        package.RobertaModel, package.ViTModel  # noqa: B018  (import them now)
    return package
