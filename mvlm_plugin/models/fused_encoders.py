"""What every model here has: an encoder for each modality and the cross-modality streams, without any head."""

from typing import Any

from fairseq.models import BaseFairseqModel
from torch import Tensor, nn

from ..interop.dictionary_digest import check_digest, digest_of, save_digest
from ..interop.norm_eps import restore_norm_eps, save_norm_eps
from ..interop.positions import fit_positions
from ..modules.attention import KeyValue
from ..modules.pixels import PixelNormalization
from ..registry import FUSIONS, IMAGE_ENCODERS, TEXT_ENCODERS
from .config import MvlmConfig, validate
from .initial_weights import initialise
from .parameter_groups import tag_parameters
from .parts import prepare_parts


def _adapter(width: int, fusion_width: int) -> nn.Module:
    """Brings an encoder's tokens to the fusion's size; nothing where they have it already."""
    return nn.Identity() if width == fusion_width else nn.Linear(width, fusion_width)


class FusedEncoders(BaseFairseqModel):
    """Image encoder, text encoder and cross-modality encoders; a model adds its heads and calls finish().

    Args:
        cfg: sizes and component names.
        dictionary: of the captions, the mask symbol included.
    """

    def __init__(self, cfg: MvlmConfig, dictionary: Any) -> None:
        super().__init__()
        self.cfg = cfg
        self.padding_idx = dictionary.pad()
        self.dictionary_digest = digest_of(dictionary)
        self.image_encoder = IMAGE_ENCODERS.build(cfg.image_encoder, cfg)
        validate(cfg, self.image_encoder.patch_size)
        self.text_encoder = TEXT_ENCODERS.build(cfg.text_encoder, cfg, dictionary)
        self.image_adapter = _adapter(self.image_encoder.width, cfg.fusion_width)
        self.text_adapter = _adapter(self.text_encoder.width, cfg.fusion_width)
        self.fusion = FUSIONS.build(cfg.fusion, cfg)
        self.normalize = PixelNormalization()

    def finish(self) -> None:
        """When all parts are there: initial weights, and what the config says of freezing, checkpointing and compiling.

        Raises:
            ConfigError, ValueError: see prepare_parts().
        """
        self.apply(initialise)
        prepare_parts(self, self.cfg)
        tag_parameters(self)
        self.register_state_dict_post_hook(save_norm_eps)
        self.register_state_dict_post_hook(save_digest)

    @classmethod
    def build_model(cls, cfg: MvlmConfig, task: Any) -> "FusedEncoders":
        """fairseq's entry: build from a config and a task that has a dictionary.

        An architecture is a config; a task whose model is another class than the architecture's has make_model(cfg).
        """
        make = getattr(task, "make_model", None)
        return cls(cfg, task.source_dictionary) if make is None else make(cfg)

    def max_positions(self) -> None:
        """No limit of its own: the data set cuts captions to cfg.max_text_tokens."""
        return None

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """fairseq's hook before loading: fits positions to this model's sizes, and takes over the norms' eps.

        Raises:
            ValueError: the checkpoint is of another dictionary.
        """
        check_digest(state_dict, self)
        super().upgrade_state_dict_named(state_dict, name)
        fit_positions(state_dict, self)
        restore_norm_eps(state_dict, self)

    @property
    def grid(self) -> int:
        """Patches a side of an image."""
        return self.cfg.image_size // self.image_encoder.patch_size

    def encode_image(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) normalised images -> (K * B, P + 1, D); image_mask (K * B, P) as the image encoders take it."""
        return self.image_adapter(self.image_encoder(images, image_mask))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, L) token ids, padded -> (B, L, D)."""
        return self.text_adapter(self.text_encoder(tokens, tokens.eq(self.padding_idx)))

    def fuse_pairs(
        self,
        image: Tensor,
        text: Tensor,
        padding_mask: Tensor,
        image_rows: Tensor,
        text_rows: Tensor,
        text_context: list[KeyValue] | None = None,
        image_context: list[KeyValue] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Token 0 of both cross-modality streams of M pairs of an image row and a text row, each of shape (M, D).

        Args:
            image: (U, P + 1, D) features of images.
            text: (B, L, D) features of texts.
            padding_mask: (B, L) bool, True = padding of the texts.
            image_rows, text_rows: (M,) int64.
            text_context, image_context: projections of text and image, if they were computed already.
        """
        text_context = self.fusion.image_stream.project(text) if text_context is None else text_context
        image_context = self.fusion.text_stream.project(image) if image_context is None else image_context
        from_image = self.fusion.image_stream(
            image, None, text_context, padding_mask, image_rows, text_rows, first_only=True
        )
        from_text = self.fusion.text_stream(
            text, padding_mask, image_context, None, text_rows, image_rows, first_only=True
        )
        return from_image[:, 0], from_text[:, 0]
