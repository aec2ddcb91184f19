"""fairseq optimizers of the plugin."""

from . import adamw_parts  # noqa: F401
