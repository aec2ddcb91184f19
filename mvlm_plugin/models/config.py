"""The one model config: flat, since fairseq's command line flattens nested ones and drops clashing names."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass


@dataclass
class MvlmConfig(FairseqDataclass):
    """Sizes and components of a fused vision and language model. Defaults are the paper's, at base size."""

    image_encoder: str = field(default="vit_base_patch16", metadata={"help": "registered image encoder"})
    text_encoder: str = field(default="roberta_base", metadata={"help": "registered text encoder"})
    fusion: str = field(default="co_attention", metadata={"help": "registered cross-modality encoder"})
    image_decoder: str = field(default="cross_attention", metadata={"help": "registered decoder of masked images"})
    image_size: int = field(default=224, metadata={"help": "image height and width in pixels"})
    max_text_tokens: int = field(
        default=64, metadata={"help": "longest caption in tokens, <s> and </s> counted; longer ones are cut"}
    )
    fusion_width: int = field(default=768, metadata={"help": "token size in the cross-modality encoder and decoder"})
    fusion_layers: int = field(default=3, metadata={"help": "cross-modality blocks a modality"})
    fusion_heads: int = field(default=12, metadata={"help": "attention heads of cross-modality encoder and decoder"})
    decoder_layers: int = field(default=3, metadata={"help": "blocks of the image decoder"})
    embedding_width: int = field(default=256, metadata={"help": "size of the vectors that ITC and retrieval compare"})
    dropout: float = field(default=0.1, metadata={"help": "dropout probability on residual branches"})
    image_mask_ratio: float = field(default=0.6, metadata={"help": "share of the image that is masked for MIM"})
    image_mask_block: int = field(
        default=32, metadata={"help": "side in pixels of the aligned square blocks that are masked together"}
    )
    text_mask_ratio: float = field(default=0.3, metadata={"help": "share of a caption's tokens that is masked for MLM"})
    mask_both: bool = field(
        default=False,
        metadata={"help": "predict masked words from the masked image and masked image from masked words"},
    )


class ConfigError(ValueError):
    """A combination of options that cannot work; the message says which and what to change."""


def validate(cfg: MvlmConfig, patch_size: int) -> None:
    """Check what no single option can check.

    Args:
        cfg: the model config.
        patch_size: pixels a token's side of the image encoder it names.

    Raises:
        ConfigError: naming the options to change.
    """
    for name in ("image_mask_ratio", "text_mask_ratio"):
        if not 0.0 < getattr(cfg, name) < 1.0:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} {getattr(cfg, name)} must lie between 0 and 1, both excluded")
    if cfg.image_mask_block % patch_size:
        raise ConfigError(
            f"--image-mask-block {cfg.image_mask_block} must be a multiple of the patch size {patch_size} "
            f"of --image-encoder {cfg.image_encoder}"
        )
    if cfg.image_mask_block >= cfg.image_size:
        raise ConfigError(
            f"--image-mask-block {cfg.image_mask_block} must be smaller than --image-size {cfg.image_size}: "
            "one block would hide everything or nothing"
        )
    if cfg.fusion_width % cfg.fusion_heads:
        raise ConfigError(f"--fusion-heads {cfg.fusion_heads} must divide --fusion-width {cfg.fusion_width}")
    if cfg.max_text_tokens < 3:
        raise ConfigError(f"--max-text-tokens {cfg.max_text_tokens} leaves no room for a word between <s> and </s>")
