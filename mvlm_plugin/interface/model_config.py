"""The model config of a file that need not be trusted: names, types and sizes are checked before a model is built."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, get_type_hints

from fairseq.models import MODEL_DATACLASS_REGISTRY

from ..models.config import ConfigError, MvlmConfig
from ..registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS

# Above any model, and still built in seconds without memory, so that shapes can be compared.
_MOST = {"image_size": 4096, "fusion_layers": 64, "decoder_layers": 64}
_MOST_OF_OTHERS = 65_536
# Zero has a meaning there.
_MAY_BE_ZERO = ("frozen_image_stages", "frozen_text_layers")
_COMPONENTS = {
    "image_encoder": IMAGE_ENCODERS,
    "text_encoder": TEXT_ENCODERS,
    "fusion": FUSIONS,
    "image_decoder": IMAGE_DECODERS,
}
_YOURS = "Where it is of your own code, import that before load()."


def config_values(cfg: MvlmConfig) -> dict[str, Any]:
    """All options of a config by name, for a file."""
    return {name: value for name, value in asdict(cfg).items() if not name.startswith("_")}


def read_config(architecture: str, values: Mapping[str, Any]) -> MvlmConfig:
    """The config that a file holds, for use: what only training needs is switched off.

    Args:
        architecture: name of the preset; it says which options there are where it is registered.
        values: by option; those that are absent, as in files of earlier versions, have the preset's value.

    Raises:
        ConfigError: an unknown option or component, a value of another type or out of range.
    """
    preset = MODEL_DATACLASS_REGISTRY.get(architecture, MvlmConfig)
    if not issubclass(preset, MvlmConfig):
        raise ConfigError(f"architecture {architecture!r} is none of this program")
    types = {name: kind for name, kind in get_type_hints(preset).items() if not name.startswith("_")}
    given = {name: value for name, value in values.items() if name != "_name"}
    unknown = sorted(map(str, given.keys() - types.keys()))
    if unknown:
        raise ConfigError(
            f"architecture {architecture!r} has options that this program does not know: {', '.join(unknown)[:200]}. "
            f"{_YOURS}"
        )
    for name, value in given.items():
        _check(name, value, types[name])
    for name, components in _COMPONENTS.items():
        if name in given:
            try:
                components.get(given[name])
            except ValueError as error:
                raise ConfigError(f"{error} {_YOURS}") from error
    return replace(preset(**given), checkpoint_activations="", compile_model=False)


def _check(name: str, value: Any, kind: Any) -> None:
    """One value. Types that no option of ours has are left to the component that reads them."""
    if kind not in (str, bool, int, float):
        return
    most = _MOST.get(name, _MOST_OF_OTHERS)
    if type(value) is not kind and (kind, type(value)) != (float, int):
        problem = f"is a {type(value).__name__} in place of a {kind.__name__}"
    elif kind is int and not (name not in _MAY_BE_ZERO) <= value <= most:
        problem = f"must lie between {int(name not in _MAY_BE_ZERO)} and {most}"
    elif kind is float and not (math.isfinite(value) and 0.0 <= value <= 1.0):
        problem = "must lie between 0 and 1"
    else:
        return
    raise ConfigError(f"{name} {str(value)[:40]} {problem}")
