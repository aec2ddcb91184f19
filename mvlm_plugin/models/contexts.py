"""Projections of unimodal features for the cross-modality streams."""

from collections.abc import Callable

from torch import Tensor, nn

from ..modules.attention import KeyValue


class Contexts:
    """Keys and values of features, each computed once for all objectives that read them.

    Args:
        fusion: the cross-modality encoders.
    """

    def __init__(self, fusion: nn.Module) -> None:
        self.text = _once(fusion.image_stream.project)  # type: ignore[union-attr, arg-type]
        self.image = _once(fusion.text_stream.project)  # type: ignore[union-attr, arg-type]


def _once(project: Callable[[Tensor], list[KeyValue]]) -> Callable[[Tensor], list[KeyValue]]:
    """The same projection, computed once for each tensor that it is asked for."""
    known: dict[int, list[KeyValue]] = {}

    def projected(features: Tensor) -> list[KeyValue]:
        if id(features) not in known:
            known[id(features)] = project(features)
        return known[id(features)]

    return projected
