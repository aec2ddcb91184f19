"""What an optimizer must know of each parameter, kept at the parameter itself.

fairseq hands an optimizer a flat list of tensors without names, so that the model marks them when it is built.
"""

import re
from typing import NamedTuple

from torch import nn

# Modules of a model that have a learning rate of their own; everything else is part MAIN.
ENCODER_PARTS = ("image_encoder", "text_encoder")
# Those, and the others that options name.
PARTS = (*ENCODER_PARTS, "fusion", "image_decoder")
MAIN = "main"

# Learned tokens (cls_token, mask_token, register_tokens) and position embeddings (position_embedding, pos_embed,
# embed_positions.weight, relative_position_bias_table), as the usual libraries name them.
_NOT_DECAYED = re.compile(r"_tokens?$|(^|[._])pos(itions?|itional)?(_?(emb|enc|bias)\w*)?(\.weight)?$")


class ParameterTag(NamedTuple):
    """One parameter's name in the model, its part (one of ENCODER_PARTS or MAIN), and whether it is decayed."""

    name: str
    part: str
    decay: bool


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: not to norms, biases and scales (one dimension or none), positions and tokens.

    A component may decide for itself by setting ``parameter.mvlm_decay`` to True or False.
    """
    by_rule = parameter.ndim > 1 and _NOT_DECAYED.search(name) is None
    return bool(getattr(parameter, "mvlm_decay", by_rule))


def tag_parameters(model: nn.Module) -> None:
    """Set ``parameter.mvlm_tag`` of every parameter, those of foreign components included."""
    for name, parameter in model.named_parameters():
        head = name.partition(".")[0]
        part = head if head in ENCODER_PARTS else MAIN
        parameter.mvlm_tag = ParameterTag(name, part, decays(name, parameter))  # type: ignore[attr-defined]


def tag_of(parameter: nn.Parameter) -> ParameterTag:
    """What tag_parameters() noted.

    Raises:
        ValueError: the parameter is not of a model that was tagged.
    """
    tag = getattr(parameter, "mvlm_tag", None)
    if tag is None:
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} has no part: --optimizer adamw_parts trains the float32 "
            "parameters of this plugin's models; for another model take --optimizer adam, and --autocast bf16 "
            "in place of --fp16, --bf16 and --amp"
        )
    return tag
