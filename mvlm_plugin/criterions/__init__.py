"""fairseq criterions of the plugin."""

from . import joint_masked_vl, vl_classification, vl_retrieval  # noqa: F401
