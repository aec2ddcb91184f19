"""fairseq plugin for joint masked vision and language modeling (MaskVLM; Kwon et al., ICLR 2023).

Importing the package registers its task, architectures, criterion and components with fairseq. The command mvlm-prep,
which needs no more than the data-bin format, sets MVLM_PLUGIN_REGISTER=0 for itself: torch and fairseq take seconds.
"""

import os

from . import log_levels  # noqa: F401  (before fairseq is imported)

if os.environ.get("MVLM_PLUGIN_REGISTER") != "0":
    from . import criterions, encoders, fusion, heads, models, optim, tasks  # noqa: F401
    from .checkpointing import keep_checkpoints
    from .checkpoints import allow_fairseq_checkpoints
    from .data.images import RgbImage
    from .data.transforms import Draw, register_image_operation
    from .guards import guard_trainers
    from .interface import load
    from .models.architectures import register_architecture
    from .models.config import MvlmConfig
    from .ranks import follow_launcher
    from .registry import register_fusion, register_image_decoder, register_image_encoder, register_text_encoder

    allow_fairseq_checkpoints()
    keep_checkpoints()
    follow_launcher()
    guard_trainers()

__all__ = [
    "Draw",
    "MvlmConfig",
    "RgbImage",
    "load",
    "register_architecture",
    "register_fusion",
    "register_image_decoder",
    "register_image_encoder",
    "register_image_operation",
    "register_text_encoder",
]
