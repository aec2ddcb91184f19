"""Named architectures: presets of MvlmConfig, and the decorator that makes a name of one.

A preset is a model class of its own for fairseq, which works on the command line (``--arch NAME``) and in YAML
(``model: {_name: NAME}``) alike; fairseq's ``register_model_architecture`` works on the command line only.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

from fairseq.models import MODEL_REGISTRY, register_model

from .config import PACKAGED, MvlmConfig
from .mvlm import MvlmModel

ConfigClass = TypeVar("ConfigClass", bound=type[MvlmConfig])

ARCHITECTURES: dict[str, type[MvlmModel]] = {}


def register_architecture(name: str) -> Callable[[ConfigClass], ConfigClass]:
    """Decorator on a dataclass that extends MvlmConfig (or a preset of it): its defaults become ``--arch NAME``.

    Raises:
        ValueError: the name is taken.
        TypeError: the class does not extend MvlmConfig or is not a dataclass of its own.
    """

    def add(config: ConfigClass) -> ConfigClass:
        if name in MODEL_REGISTRY:
            raise ValueError(f"architecture {name!r} is registered already; choose another name.")
        if not (issubclass(config, MvlmConfig) and is_dataclass(config) and "__dataclass_fields__" in vars(config)):
            raise TypeError(f"{config.__name__} must be a @dataclass that extends MvlmConfig to become --arch {name}")
        described = {f.name: f.metadata for base in config.__mro__[1:] if is_dataclass(base) for f in fields(base)}
        for field in fields(config):
            field.metadata = field.metadata or described.get(field.name, field.metadata)
        model = type(config.__name__.removesuffix("Config"), (MvlmModel,), {"__module__": config.__module__})
        ARCHITECTURES[name] = register_model(name, dataclass=config)(model)
        return config

    return add


@register_architecture("mvlm_base")
@dataclass
class MvlmBaseConfig(MvlmConfig):
    """The paper's: ViT-B/16 and RoBERTa-base at 224 pixels, 3 cross-modality blocks."""


@register_architecture("mvlm_large")
@dataclass
class MvlmLargeConfig(MvlmConfig):
    """ViT-L/16 and RoBERTa-large."""

    image_encoder: str = "vit_large_patch16"
    text_encoder: str = "roberta_large"
    fusion_width: int = 1024
    fusion_heads: int = 16


@register_architecture("mvlm_small")
@dataclass
class MvlmSmallConfig(MvlmConfig):
    """Half the width of base."""

    image_encoder: str = "vit_small_patch16"
    text_encoder: str = "roberta_small"
    fusion_width: int = 384
    fusion_heads: int = 6


@register_architecture("mvlm_mini")
@dataclass
class MvlmMiniConfig(MvlmConfig):
    """For small photos and few cores: 128 pixels, 64 patches."""

    image_encoder: str = "vit_mini_patch16"
    text_encoder: str = "roberta_mini"
    image_size: int = 128
    max_text_tokens: int = 32
    fusion_width: int = 192
    fusion_heads: int = 4
    fusion_layers: int = 2
    decoder_layers: int = 1


@register_architecture("mvlm_lite")
@dataclass
class MvlmLiteConfig(MvlmConfig):
    """Pre-trained encoders of another family that a CPU can train: EfficientNet-Lite0 and MiniLM (extra ``lite``)."""

    image_encoder: str = "efficientnet_lite0"
    text_encoder: str = "minilm_l6"
    image_encoder_weights: str = PACKAGED
    text_encoder_weights: str = PACKAGED
    image_size: int = 192
    max_text_tokens: int = 32
    fusion_width: int = 256
    fusion_heads: int = 4
    fusion_layers: int = 2
    decoder_layers: int = 1


@register_architecture("mvlm_tiny")
@dataclass
class MvlmTinyConfig(MvlmConfig):
    """For tests and for pictures of 64 pixels on a CPU: trains in minutes."""

    image_encoder: str = "vit_tiny_patch16"
    text_encoder: str = "roberta_tiny"
    image_size: int = 64
    image_mask_block: int = 16
    max_text_tokens: int = 32
    fusion_width: int = 128
    fusion_heads: int = 4
    fusion_layers: int = 2
    decoder_layers: int = 1
    embedding_width: int = 128
    dropout: float = 0.0
