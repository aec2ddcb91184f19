"""Named components: a decorator registers a builder, the model config names it."""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

Builder = TypeVar("Builder", bound=Callable[..., Any])


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """The end of a message on an unknown name: `` Did you mean 'a', 'b'?``, or nothing where no name is close."""
    close = difflib.get_close_matches(name, list(known), n=count)
    return f" Did you mean {', '.join(map(repr, close))}?" if close else ""


class Registry:
    """Builders by name, and families of names: ``PREFIX:NAME`` is built by the family's builder, which gets NAME.

    Args:
        kind: what is registered, for messages, e.g. "image encoder".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._builders: dict[str, Callable[..., Any]] = {}
        self._families: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Decorator that registers a builder under a name.

        Raises:
            ValueError: the name is taken by another builder.
        """
        return self._adder(self._builders, name)

    def register_family(self, prefix: str) -> Callable[[Builder], Builder]:
        """Decorator that registers the builder of all names ``PREFIX:NAME``; it is called with NAME first.

        Raises:
            ValueError: the prefix is taken by another builder.
        """
        return self._adder(self._families, prefix)

    def _adder(self, known: dict[str, Callable[..., Any]], name: str) -> Callable[[Builder], Builder]:
        def add(builder: Builder) -> Builder:
            if known.get(name, builder) is not builder:
                raise ValueError(f"{self.kind} {name!r} is registered already; choose another name.")
            known[name] = builder
            return builder

        return add

    def names(self) -> list[str]:
        """All registered names, sorted; names of families are not among them."""
        return sorted(self._builders)

    def choices(self) -> list[str]:
        """What a user may choose, for messages: all names, and ``PREFIX:NAME`` for each family."""
        return self.names() + [f"{prefix}:NAME" for prefix in sorted(self._families)]

    def get(self, name: str) -> Callable[..., Any]:
        """The builder of that name.

        Raises:
            ValueError: unknown name; the message lists the choices.
        """
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self._families:
            return partial(self._families[prefix], rest)
        if name not in self._builders:
            hint = did_you_mean(name, self._builders)
            raise ValueError(f"unknown {self.kind} {name!r}; choices: {', '.join(self.choices())}.{hint}")
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
