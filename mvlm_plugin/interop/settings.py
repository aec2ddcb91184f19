"""What decides a source's outputs beside its weights: heads, activation, norms, and how its images were normalised."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..encoders.roberta import RobertaEncoder
from ..encoders.vit import VisionTransformer
from ..modules.blocks import EncoderBlock
from .reading import WeightFiles, WeightsError, read_json

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"


class Settings(NamedTuple):
    """None where the source does not say.

    heads: of each attention.
    activation: of the feed-forward nets, by its name in the source.
    eps: of the norms.
    mean, deviation: of red, green and blue that images were normalised with, pixels from 0 to 1.
    """

    heads: int | None = None
    activation: str | None = None
    eps: float | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None


def read_settings(source: WeightFiles) -> Settings:
    """Settings of a Hugging Face folder (config.json, preprocessor_config.json) or of fairseq's arguments.

    Raises:
        WeightsError: one of the files is damaged.
    """
    fairseq = _fairseq_arguments(source.content)
    config = read_json(source.folder / CONFIG) if (source.folder / CONFIG).is_file() else {}
    heads = fairseq.get("encoder_attention_heads", config.get("num_attention_heads"))
    activation = fairseq.get("activation_fn", config.get("hidden_act"))
    eps = config.get("layer_norm_eps")
    return Settings(
        heads if isinstance(heads, int) else None,
        activation if isinstance(activation, str) else None,
        eps if isinstance(eps, float) and 0 < eps < 1 else None,
        *_normalization(source.folder, config),
    )


def _fairseq_arguments(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model's options in a fairseq checkpoint: a namespace, or a part of its config."""
    config = content.get("cfg")
    arguments = content.get("args") or (config.get("model") if isinstance(config, Mapping) else None)
    if isinstance(arguments, Namespace):
        return vars(arguments)
    return arguments if isinstance(arguments, Mapping) else {}


def _normalization(folder: Path, config: dict[str, Any]) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and deviation from preprocessor_config.json (transformers) or config.json (timm)."""
    path = folder / PREPROCESSOR
    if path.is_file():
        preprocessor = read_json(path)
        given: list[Any] = [preprocessor.get("image_mean"), preprocessor.get("image_std")]
        if preprocessor.get("do_normalize") is False:
            given = [[0.0] * 3, [1.0] * 3]
    else:
        timm = config.get("pretrained_cfg")
        given = [timm.get("mean"), timm.get("std")] if isinstance(timm, dict) else [None, None]
    if given == [None, None]:
        return None, None
    try:
        mean, deviation = (tuple(float(value) for value in values) for values in given)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: the mean and deviation of images are no numbers: {given}") from error
    if len(mean) != 3 or len(deviation) != 3:
        raise WeightsError(f"{folder}: the mean and deviation of images are not three numbers each: {given}")
    if min(deviation) <= 0:
        raise WeightsError(f"{folder}: the deviation of images must be above zero: {deviation}")
    return mean, deviation


def differences(settings: Settings, encoder: VisionTransformer | RobertaEncoder) -> list[str]:
    """What makes an encoder of ours another function than the source, although its weights fit."""
    found = []
    heads = cast(EncoderBlock, encoder.blocks[0]).self_attention.heads
    if settings.heads not in (None, heads):
        found.append(f"different: {settings.heads} attention heads in the file, {heads} in the model")
    if settings.activation not in (None, "gelu"):
        found.append(f"different: activation {settings.activation} in the file, gelu in the model")
    return found
