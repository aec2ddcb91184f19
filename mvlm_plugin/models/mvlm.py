"""The fused vision and language model of MaskVLM (Kwon et al., ICLR 2023), assembled from named components."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from fairseq.models import BaseFairseqModel
from torch import Tensor, nn

from ..heads.contrastive import ContrastiveHead
from ..heads.matching import MatchingHead
from ..heads.mlm import MlmHead
from ..losses.matching import matching_rows
from ..losses.negatives import sample_hard_negatives
from ..modules.attention import KeyValue
from ..modules.patches import blocks_to_patches, patchify
from ..modules.pixels import PixelNormalization
from ..registry import FUSIONS, IMAGE_DECODERS, IMAGE_ENCODERS, TEXT_ENCODERS
from .config import MvlmConfig, validate
from .outputs import Features, ItcOutput, ItmOutput, MimOutput, PretrainingOutput

OBJECTIVES = ("mlm", "mim", "itc", "itm")


def initialise(module: nn.Module) -> None:
    """BERT's and ViT's initial weights: linear and embedding weights normal with deviation 0.02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])


def _adapter(width: int, fusion_width: int) -> nn.Module:
    """Brings an encoder's tokens to the fusion's size; nothing where they have it already."""
    return nn.Identity() if width == fusion_width else nn.Linear(width, fusion_width)


class MvlmModel(BaseFairseqModel):
    """Image encoder, text encoder, cross-modality encoders, image decoder, and the heads.

    Args:
        cfg: sizes and component names.
        dictionary: of the captions, the mask symbol included.
    """

    def __init__(self, cfg: MvlmConfig, dictionary: Any) -> None:
        super().__init__()
        self.cfg = cfg
        self.padding_idx = dictionary.pad()
        self.image_encoder = IMAGE_ENCODERS.build(cfg.image_encoder, cfg)
        validate(cfg, self.image_encoder.patch_size)
        self.text_encoder = TEXT_ENCODERS.build(cfg.text_encoder, cfg, dictionary)
        self.image_adapter = _adapter(self.image_encoder.width, cfg.fusion_width)
        self.text_adapter = _adapter(self.text_encoder.width, cfg.fusion_width)
        self.fusion = FUSIONS.build(cfg.fusion, cfg)
        self.image_decoder = IMAGE_DECODERS.build(cfg.image_decoder, cfg, self.image_encoder.patch_size)
        self.mlm_head = MlmHead(cfg.fusion_width, self.text_encoder.token_embedding)
        self.contrastive = ContrastiveHead(cfg.fusion_width, cfg.fusion_width, cfg.embedding_width)
        self.matching = MatchingHead(cfg.fusion_width)
        self.normalize = PixelNormalization()
        self.apply(initialise)
        self.matching.initialise()

    @classmethod
    def build_model(cls, cfg: MvlmConfig, task: Any) -> "MvlmModel":
        """fairseq's entry: build from a config and a task that has a dictionary."""
        return cls(cfg, task.source_dictionary)

    def max_positions(self) -> None:
        """No limit of its own: the data set cuts captions to cfg.max_text_tokens."""
        return None

    @property
    def grid(self) -> int:
        """Patches a side of an image."""
        return self.cfg.image_size // self.image_encoder.patch_size

    def patch_mask(self, block_mask: Tensor) -> Tensor:
        """(B, R, R) mask of blocks -> (B, P) mask of patches; True = masked."""
        return blocks_to_patches(block_mask, self.cfg.image_mask_block, self.image_encoder.patch_size, self.grid)

    def encode_image(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) normalised images -> (K * B, P + 1, D); image_mask (K * B, P) as the image encoders take it."""
        return self.image_adapter(self.image_encoder(images, image_mask))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, L) token ids, padded -> (B, L, D)."""
        return self.text_adapter(self.text_encoder(tokens, tokens.eq(self.padding_idx)))

    def predict_words(
        self, masked_text: Tensor, padding_mask: Tensor, image_context: list[KeyValue], positions: Tensor
    ) -> Tensor:
        """Vocabulary logits of masked words, given an image.

        Args:
            masked_text: (B, L, D) features of the masked captions.
            padding_mask: (B, L) bool, True = padding.
            image_context: from fusion.text_stream.project() of B images' features.
            positions: (M,) int64, row * L + column of the masked words.

        Returns:
            Tensor of shape (M, V).
        """
        fused = self.fusion.text_stream(masked_text, padding_mask, image_context, None)
        return self.mlm_head(fused.flatten(0, 1).index_select(0, positions), self.text_encoder.token_embedding.weight)

    def predict_pixels(
        self, masked_image: Tensor, text: Tensor, padding_mask: Tensor, text_context: list[KeyValue] | None = None
    ) -> Tensor:
        """RGB values of every patch of masked images, given captions.

        Args:
            masked_image: (B, P + 1, D) features of the masked images.
            text: (B, L, D) features of the captions.
            padding_mask: (B, L) bool, True = padding of the captions.
            text_context: fusion.image_stream.project(text), if it was computed already.

        Returns:
            Tensor of shape (B, P, 3 * patch_size ** 2), normalised pixel units.
        """
        context = self.fusion.image_stream.project(text) if text_context is None else text_context
        fused = self.fusion.image_stream(masked_image, None, context, padding_mask)
        return self.image_decoder(fused, text, padding_mask)

    def match(
        self,
        image: Tensor,
        text: Tensor,
        padding_mask: Tensor,
        image_rows: Tensor,
        text_rows: Tensor,
        text_context: list[KeyValue] | None = None,
        image_context: list[KeyValue] | None = None,
    ) -> Tensor:
        """Logits (M, 2) of M pairs of an image row and a text row; class 1 = matched."""
        text_context = self.fusion.image_stream.project(text) if text_context is None else text_context
        image_context = self.fusion.text_stream.project(image) if image_context is None else image_context
        from_image = self.fusion.image_stream(
            image, None, text_context, padding_mask, image_rows, text_rows, first_only=True
        )
        from_text = self.fusion.text_stream(
            text, padding_mask, image_context, None, text_rows, image_rows, first_only=True
        )
        return self.matching(from_image[:, 0], from_text[:, 0])

    def embed_image(self, features: Tensor) -> Tensor:
        """(B, P + 1, D) features of whole images -> (B, E) float32 unit vectors."""
        return self.contrastive.image(features[:, 0])

    def embed_text(self, features: Tensor) -> Tensor:
        """(B, L, D) features of whole captions -> (B, E) float32 unit vectors."""
        return self.contrastive.text(features[:, 0])

    def partners(self, features: Features) -> tuple[Tensor, Tensor]:
        """The image that masked words are predicted from, and the text that masked images are rebuilt from."""
        if self.cfg.mask_both:
            return features.masked_image, features.masked_text
        return features.image, features.text

    def encode_views(
        self,
        pixels: Tensor,
        image_mask: Tensor,
        tokens: Tensor,
        masked_tokens: Tensor,
        objectives: Collection[str] = OBJECTIVES,
    ) -> Features:
        """Encode each modality in one pass, in the views that the objectives need.

        Args:
            pixels: (B, 3, H, W) normalised images.
            image_mask: (B, P) bool, True = masked.
            tokens, masked_tokens: (B, L) int64.
            objectives: of "mlm", "mim", "itc", "itm".
        """
        wanted = set(objectives)
        both = self.cfg.mask_both
        aligned = bool(wanted & {"itc", "itm"})
        whole_image = aligned or ("mlm" in wanted and not both)
        whole_text = aligned or ("mim" in wanted and not both)
        masked_image = "mim" in wanted or ("mlm" in wanted and both)
        masked_text = "mlm" in wanted or ("mim" in wanted and both)
        image_masks = [torch.zeros_like(image_mask)] * whole_image + [image_mask] * masked_image
        texts = [tokens] * whole_text + [masked_tokens] * masked_text
        images = self.encode_image(pixels, torch.cat(image_masks)).chunk(len(image_masks)) if image_masks else ()
        captions = self.encode_text(torch.cat(texts)).chunk(len(texts)) if texts else ()
        absent = pixels.new_zeros(0)
        return Features(
            images[0] if whole_image else absent,
            images[-1] if masked_image else absent,
            captions[0] if whole_text else absent,
            captions[-1] if masked_text else absent,
        )

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        image_ids: Tensor,
        masked_tokens: Tensor,
        mlm_positions: Tensor,
        block_mask: Tensor,
        objectives: Collection[str] = OBJECTIVES,
    ) -> PretrainingOutput:
        """Everything the wanted objectives need, and no more.

        Args:
            images: (B, 3, H, W) uint8.
            tokens: (B, L) int64, the whole captions, padded.
            image_ids: (B,) int64, equal for pairs of the same image.
            masked_tokens: (B, L) int64, the captions with masked words.
            mlm_positions: (M,) int64, row * L + column of the words to predict.
            block_mask: (B, R, R) bool, True = block of pixels masked.
            objectives: of "mlm", "mim", "itc", "itm".
        """
        wanted = set(objectives)
        pixels = self.normalize(images)
        image_mask = self.patch_mask(block_mask)
        padding_mask = tokens.eq(self.padding_idx)
        features = self.encode_views(pixels, image_mask, tokens, masked_tokens, wanted)
        mlm_image, mim_text = self.partners(features)
        # A context is projected once for all objectives that read it.
        text_context = _once(self.fusion.image_stream.project)
        image_context = _once(self.fusion.text_stream.project)
        mlm = mim = itc = itm = None
        if "mlm" in wanted:
            mlm = self.predict_words(features.masked_text, padding_mask, image_context(mlm_image), mlm_positions)
        if "mim" in wanted:
            rebuilt = self.predict_pixels(features.masked_image, mim_text, padding_mask, text_context(mim_text))
            mim = MimOutput(rebuilt, patchify(pixels, self.image_encoder.patch_size), image_mask)
        if wanted & {"itc", "itm"}:
            self.contrastive.clamp_temperature()
            itc = ItcOutput(
                self.embed_image(features.image), self.embed_text(features.text), self.contrastive.temperature
            )
        if itc is not None and "itm" in wanted:
            image_rows, text_rows, labels, valid = matching_rows(sample_hard_negatives(*itc, image_ids))
            contexts = text_context(features.text), image_context(features.image)
            logits = self.match(features.image, features.text, padding_mask, image_rows, text_rows, *contexts)
            itm = ItmOutput(logits, labels, valid)
        return PretrainingOutput(mlm, mim, itc, itm)


def _once(project: Callable[[Tensor], list[KeyValue]]) -> Callable[[Tensor], list[KeyValue]]:
    """The same projection, computed once for each tensor that it is asked for."""
    known: dict[int, list[KeyValue]] = {}

    def projected(features: Tensor) -> list[KeyValue]:
        if id(features) not in known:
            known[id(features)] = project(features)
        return known[id(features)]

    return projected
