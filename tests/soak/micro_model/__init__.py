"""A user-dir with the smallest model that has every part: what a long run spends is not its matrices."""

from dataclasses import dataclass
from functools import partial

from mvlm_plugin import MvlmConfig, register_architecture, register_image_encoder, register_text_encoder
from mvlm_plugin.encoders.roberta import RobertaSize, build_roberta
from mvlm_plugin.encoders.vit import VitSize, build_vit

register_image_encoder("micro_vit")(partial(build_vit, size=VitSize(8, 16, 1, 1)))
register_text_encoder("micro_roberta")(partial(build_roberta, size=RobertaSize(16, 1, 1)))


@register_architecture("micro")
@dataclass
class MicroConfig(MvlmConfig):
    """One block each, 16 wide; images of 16 pixels, 4 patches."""

    image_encoder: str = "micro_vit"
    text_encoder: str = "micro_roberta"
    image_size: int = 16
    image_mask_block: int = 8
    max_text_tokens: int = 16
    fusion_width: int = 16
    fusion_heads: int = 1
    fusion_layers: int = 1
    decoder_layers: int = 1
    embedding_width: int = 16
