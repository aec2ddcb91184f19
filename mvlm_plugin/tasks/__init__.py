"""fairseq tasks of the plugin."""

from . import joint_masked_vl  # noqa: F401
