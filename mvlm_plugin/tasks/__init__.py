"""fairseq tasks of the plugin."""

from . import joint_masked_vl, vl_entailment, vl_nlvr2, vl_retrieval, vl_vqa  # noqa: F401
