"""Packages that encoders need beyond the plugin's own."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Around an import: says which extra has the package.

    Args:
        extra: of setup.py.
        what: needs it, for the message.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{what} the extra '{extra}': pip install 'mvlm-plugin[{extra}]'") from error
