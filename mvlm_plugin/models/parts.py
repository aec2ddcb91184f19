"""Options that change how the parts of a model compute, and not what: freezing, checkpointing, compilation."""

from typing import Any

from torch import nn

from ..modules.block_stack import checkpoint_activations
from ..modules.compilation import compile_modules
from .config import ConfigError, MvlmConfig


def parts_of(model: Any) -> dict[str, list[nn.Module]]:
    """The modules that the model calls, by the part that they belong to; a part that it lacks has none."""
    return {
        "image_encoder": [model.image_encoder],
        "text_encoder": [model.text_encoder],
        "fusion": [model.fusion.image_stream, model.fusion.text_stream],
        "image_decoder": [model.image_decoder] if hasattr(model, "image_decoder") else [],
    }


def prepare_parts(model: Any, cfg: MvlmConfig) -> None:
    """Apply what the config says of freezing, visible patches, activation checkpointing and compilation.

    Raises:
        ConfigError: an unknown part, or an encoder that cannot do what is asked of it.
        ValueError: an encoder has fewer stages than are to be frozen.
    """
    encoder = model.image_encoder
    if cfg.visible_patches_only and not getattr(encoder, "visible_patches", 0):
        raise ConfigError(
            f"--visible-patches-only: --image-encoder {cfg.image_encoder} cannot encode single patches; choose a vit_*"
        )
    if cfg.frozen_image_stages:
        if not hasattr(encoder, "freeze"):
            raise ConfigError(f"--frozen-image-stages: --image-encoder {cfg.image_encoder} has no stages to freeze")
        encoder.freeze(cfg.frozen_image_stages)
    if cfg.frozen_text_layers:
        if not hasattr(model.text_encoder, "freeze"):
            raise ConfigError(f"--frozen-text-layers: --text-encoder {cfg.text_encoder} has no layers to freeze")
        model.text_encoder.freeze(cfg.frozen_text_layers)
    _freeze_modules(model, cfg.frozen_modules)
    parts = parts_of(model)
    for name in checkpointed_parts(cfg.checkpoint_activations, list(parts)):
        for module in parts[name]:
            checkpoint_activations(module)
    if cfg.compile_model:
        compile_modules([module for modules in parts.values() for module in modules])


def _freeze_modules(model: nn.Module, option: str) -> None:
    """Apply --frozen-modules.

    Raises:
        ConfigError: a name that is no module of the model, or nothing is left to train.
    """
    modules = dict(model.named_children())
    for name in filter(None, (name.strip() for name in option.split(","))):
        if name not in modules:
            known = ", ".join(name for name, module in modules.items() if any(True for _ in module.parameters()))
            raise ConfigError(f"--frozen-modules: the model has no module {name!r}; choices: {known}")
        modules[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("--frozen-modules and the other options freeze the whole model: nothing is left to train")


def checkpointed_parts(option: str, known: list[str]) -> list[str]:
    """The parts that --checkpoint-activations names.

    Raises:
        ConfigError: an unknown name.
    """
    names = [name.strip() for name in option.split(",") if name.strip()]
    unknown = set(names) - {*known, "all"}
    if unknown:
        raise ConfigError(
            f"--checkpoint-activations: unknown part {min(unknown)!r}; choices: {', '.join(known)}, or all"
        )
    return known if "all" in names else names
