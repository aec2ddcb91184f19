"""The one model config: flat, since fairseq's command line flattens nested ones and drops clashing names."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass

# In place of a path of weights: those that the encoder's own Python package carries.
PACKAGED = "packaged"


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
    normalized_patches: bool = field(
        default=False,
        metadata={
            "help": "MIM rebuilds each patch less its own mean and divided by its own deviation (as MAE), not "
            "its colours; pictures of such a model take both from the original"
        },
    )
    mask_both: bool = field(
        default=False,
        metadata={"help": "predict masked words from the masked image and masked image from masked words"},
    )
    image_encoder_weights: str = field(
        default="",
        metadata={
            "help": "pre-trained weights of the image encoder: a file (.pth, .safetensors), a Hugging Face folder, or "
            "'packaged' for those of the encoder's own Python package (efficientnet_lite0)"
        },
    )
    text_encoder_weights: str = field(
        default="",
        metadata={
            "help": "pre-trained weights of the text encoder: a fairseq model.pt, a file, a Hugging Face folder, or "
            "'packaged' for those of the encoder's own Python package (minilm_l6)"
        },
    )
    fusion_from_text_encoder: bool = field(
        default=False,
        metadata={"help": "start the cross-modality blocks from the last blocks of --text-encoder-weights"},
    )
    allow_weight_mismatch: bool = field(
        default=False,
        metadata={"help": "load what fits of pre-trained weights; names and shapes that do not match are only printed"},
    )
    frozen_image_stages: int = field(
        default=0, metadata={"help": "first stages (ViT: blocks) of the image encoder that are not trained"}
    )
    frozen_text_layers: int = field(
        default=0, metadata={"help": "first blocks of the text encoder that are not trained, with its embeddings"}
    )
    frozen_modules: str = field(
        default="",
        metadata={
            "help": "modules of the model that are not trained at all, joined by ',', e.g. "
            "image_encoder,image_adapter,text_encoder,text_adapter,contrastive to train matching beside a contrastive "
            "ranking that stays as it is"
        },
    )
    train_batch_norm: bool = field(
        default=False,
        metadata={"help": "let the image encoder's batch norms follow the training batches; default: fixed statistics"},
    )
    visible_patches_only: bool = field(
        default=False,
        metadata={
            "help": "faster variant: the image encoder reads only the visible patches of a masked image; mask tokens "
            "with their positions enter before the cross-modality encoder (as in MAE); for image encoders vit_*, and "
            "--image-mask-block must divide --image-size"
        },
    )
    global_negatives: bool = field(
        default=False,
        metadata={"help": "draw the hard negatives of image-text matching from the pairs of all processes"},
    )
    checkpoint_activations: str = field(
        default="",
        metadata={
            "help": "parts whose activations are computed again in the backward pass, to save memory, joined by ',': "
            "image_encoder, text_encoder, fusion, image_decoder, or all; block by block where a part has blocks of "
            "ours, else as a whole"
        },
    )
    compile_model: bool = field(
        default=False,
        metadata={
            "help": "compile the encoders, the cross-modality streams and the decoder with torch.compile; where that "
            "fails, the run goes on without, with a warning in the log"
        },
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
    if cfg.visible_patches_only and cfg.image_size % cfg.image_mask_block:
        raise ConfigError(
            f"--visible-patches-only needs --image-mask-block {cfg.image_mask_block} to divide --image-size "
            f"{cfg.image_size}: every image must have the same number of visible patches"
        )
    if cfg.fusion_width % cfg.fusion_heads:
        raise ConfigError(f"--fusion-heads {cfg.fusion_heads} must divide --fusion-width {cfg.fusion_width}")
    if cfg.max_text_tokens < 3:
        raise ConfigError(f"--max-text-tokens {cfg.max_text_tokens} leaves no room for a word between <s> and </s>")
