"""The fused model and its named architectures."""

from . import architectures  # noqa: F401
