"""Weights of other implementations in our names: each converter maps a foreign state dict to one of ours."""

from .bert import from_hf_bert
from .roberta import from_fairseq_roberta, from_hf_roberta
from .vit import from_hf_vit, from_timm_vit

__all__ = ["from_fairseq_roberta", "from_hf_bert", "from_hf_roberta", "from_hf_vit", "from_timm_vit"]
