"""Named components: a decorator registers a builder, the model config names it."""

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry:
    """Builders by name.

    Args:
        kind: what is registered, for messages, e.g. "image encoder".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Decorator that registers a builder under a name.

        Raises:
            ValueError: the name is taken by another builder.
        """

        def add(builder: Builder) -> Builder:
            if name in self._builders and self._builders[name] is not builder:
                raise ValueError(f"{self.kind} {name!r} is registered already; choose another name.")
            self._builders[name] = builder
            return builder

        return add

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._builders)

    def get(self, name: str) -> Callable[..., Any]:
        """The builder of that name.

        Raises:
            ValueError: unknown name; the message lists the choices.
        """
        if name not in self._builders:
            close = difflib.get_close_matches(name, self._builders, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown {self.kind} {name!r}; choices: {', '.join(self.names())}.{hint}")
        return self._builders[name]

    def build(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call the builder of that name.

        Raises:
            ValueError: unknown name; the message lists the choices.
        """
        return self.get(name)(*args, **kwargs)


IMAGE_ENCODERS = Registry("image encoder")
TEXT_ENCODERS = Registry("text encoder")
FUSIONS = Registry("fusion")
IMAGE_DECODERS = Registry("image decoder")

register_image_encoder = IMAGE_ENCODERS.register
register_text_encoder = TEXT_ENCODERS.register
register_fusion = FUSIONS.register
register_image_decoder = IMAGE_DECODERS.register
