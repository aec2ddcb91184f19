"""The fused vision and language model of MaskVLM (Kwon et al., ICLR 2023), assembled from named components."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from ..heads.contrastive import ContrastiveHead
from ..heads.matching import MatchingHead
from ..heads.mlm import MlmHead
from ..losses.matching import matching_rows
from ..masking.image import masked_patch_count
from ..modules.attention import KeyValue
from ..modules.patches import blocks_to_patches, masked_indices, normalize_patches, patchify, restore_patches
from ..registry import IMAGE_DECODERS
from .config import MvlmConfig
from .contexts import Contexts
from .fused_encoders import FusedEncoders
from .matching_plan import MatchingPlan, WholePairs, plan_matching
from .outputs import Features, ItcOutput, ItmOutput, MimOutput, PretrainingOutput, needed_views

logger = logging.getLogger(__name__)

OBJECTIVES = ("mlm", "mim", "itc", "itm")


class MvlmModel(FusedEncoders):
    """Image encoder, text encoder, cross-modality encoders, image decoder, and the heads of pre-training.

    Args:
        cfg: sizes and component names.
        dictionary: of the captions, the mask symbol included.
    """

    def __init__(self, cfg: MvlmConfig, dictionary: Any) -> None:
        super().__init__(cfg, dictionary)
        self.image_decoder = IMAGE_DECODERS.build(cfg.image_decoder, cfg, self.image_encoder.patch_size)
        self.mlm_head = MlmHead(cfg.fusion_width, self.text_encoder.token_embedding)
        self.contrastive = ContrastiveHead(cfg.fusion_width, cfg.fusion_width, cfg.embedding_width)
        self.matching = MatchingHead(cfg.fusion_width)
        self.finish()
        self.matching.initialise()

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """fairseq's hook before loading: as in FusedEncoders; the log says what a training starts from.

        Raises:
            ValueError: the checkpoint is of a task that has no heads of pre-training.
        """
        super().upgrade_state_dict_named(state_dict, name)
        missing = {key.partition(".")[0] for key in self.state_dict()} - {key.partition(".")[0] for key in state_dict}
        if missing:
            raise ValueError(
                f"the checkpoint has no {', '.join(sorted(missing))}: it is of another task or architecture; start "
                "from a checkpoint of joint_masked_vl or vl_retrieval"
            )
        loaded = sum(value.numel() for value in state_dict.values())
        logger.info("pre-trained model: %s values loaded, heads included; new: nothing", f"{loaded:,}")

    @property
    def masked_patches(self) -> int:
        """Masked patches of an image at most."""
        cfg = self.cfg
        return masked_patch_count(
            cfg.image_size, cfg.image_mask_block, cfg.image_mask_ratio, self.image_encoder.patch_size
        )

    def patch_mask(self, block_mask: Tensor) -> Tensor:
        """(B, R, R) mask of blocks -> (B, P) mask of patches; True = masked."""
        return blocks_to_patches(block_mask, self.cfg.image_mask_block, self.image_encoder.patch_size, self.grid)

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
        self,
        masked_image: Tensor,
        text: Tensor,
        padding_mask: Tensor,
        text_context: list[KeyValue] | None = None,
        patches: Tensor | None = None,
    ) -> Tensor:
        """RGB values of patches of masked images, given captions.

        Args:
            masked_image: (B, P + 1, D) features of the masked images.
            text: (B, L, D) features of the captions.
            padding_mask: (B, L) bool, True = padding of the captions.
            text_context: fusion.image_stream.project(text), if it was computed already.
            patches: (B, M) int64 patches wanted; None = all P.

        Returns:
            Tensor of shape (B, M, 3 * patch_size ** 2), in the units of pixel_targets().
        """
        context = self.fusion.image_stream.project(text) if text_context is None else text_context
        fused = self.fusion.image_stream(masked_image, None, context, padding_mask)
        return self.image_decoder(fused, text, padding_mask, patches)

    def pixel_targets(self, pixels: Tensor, patches: Tensor | None = None) -> Tensor:
        """What predict_pixels() is to predict.

        Args:
            pixels: (B, 3, H, W) normalised images.
            patches: (B, M) int64 patches wanted; None = all P.

        Returns:
            Tensor of shape (B, M, 3 * patch_size ** 2), normalised pixel units; with ``normalized_patches`` in units of
            each patch's own deviation.
        """
        target = patchify(pixels, self.image_encoder.patch_size)
        if patches is not None:
            target = target.take_along_dim(patches[..., None], dim=1)
        return normalize_patches(target) if self.cfg.normalized_patches else target

    def rebuilt_patches(self, predicted: Tensor, pixels: Tensor) -> Tensor:
        """Predictions of all patches as patches of normalised pixels.

        Args:
            predicted: (B, P, 3 * patch_size ** 2), of predict_pixels().
            pixels: (B, 3, H, W) normalised images; with ``normalized_patches``, mean and deviation come from there.
        """
        if not self.cfg.normalized_patches:
            return predicted
        return restore_patches(predicted, patchify(pixels, self.image_encoder.patch_size))

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
        known = (text_context, image_context)
        return self.matching(*self.fuse_pairs(image, text, padding_mask, image_rows, text_rows, *known))

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

    def _encode_images(self, pixels: Tensor, image_mask: Tensor, whole: bool, masked: bool) -> Sequence[Tensor]:
        """Whole and masked images, as wanted; in one pass unless only the visible patches are encoded."""
        if self.cfg.visible_patches_only:
            return [self.encode_image(pixels, mask) for mask in [None] * whole + [image_mask] * masked]
        masks = [torch.zeros_like(image_mask)] * whole + [image_mask] * masked
        return self.encode_image(pixels, torch.cat(masks)).chunk(len(masks)) if masks else ()

    def encode_views(
        self,
        pixels: Tensor,
        image_mask: Tensor,
        tokens: Tensor,
        masked_tokens: Tensor,
        views: Collection[str] = Features._fields,
    ) -> Features:
        """Encode each modality in one pass, in the wanted views.

        Args:
            pixels: (B, 3, H, W) normalised images.
            image_mask: (B, P) bool, True = masked.
            tokens, masked_tokens: (B, L) int64.
            views: of the fields of Features; see needed_views().
        """
        whole_image, masked_image, whole_text, masked_text = (view in views for view in Features._fields)
        texts = [tokens] * whole_text + [masked_tokens] * masked_text
        images = self._encode_images(pixels, image_mask, whole_image, masked_image)
        captions = self.encode_text(torch.cat(texts)).chunk(len(texts)) if texts else ()
        absent = pixels.new_zeros(0)
        return Features(
            images[0] if whole_image else absent,
            images[-1] if masked_image else absent,
            captions[0] if whole_text else absent,
            captions[-1] if masked_text else absent,
        )

    def predict_masked(
        self,
        features: Features,
        pixels: Tensor,
        image_mask: Tensor,
        padding_mask: Tensor,
        mlm_positions: Tensor,
        objectives: Collection[str],
        contexts: Contexts,
    ) -> PretrainingOutput:
        """The masked words and pixels, as far as ``objectives`` have "mlm" and "mim"; arguments as in forward()."""
        mlm = mim = None
        mlm_image, mim_text = self.partners(features)
        if "mlm" in objectives:
            mlm = self.predict_words(features.masked_text, padding_mask, contexts.image(mlm_image), mlm_positions)
        if "mim" in objectives:
            masked = masked_indices(image_mask, self.masked_patches)
            context = contexts.text(mim_text)
            rebuilt = self.predict_pixels(features.masked_image, mim_text, padding_mask, context, masked)
            mim = MimOutput(rebuilt, self.pixel_targets(pixels, masked), image_mask.take_along_dim(masked, dim=1))
        return PretrainingOutput(mlm, mim)

    def embed(self, image: Tensor, text: Tensor) -> ItcOutput:
        """What the contrastive loss compares of whole (B, P + 1, D) images and (B, L, D) captions."""
        if self.training:
            self.contrastive.clamp_temperature()
        return ItcOutput(self.embed_image(image), self.embed_text(text), self.contrastive.temperature)

    def judge(self, pairs: WholePairs, plan: MatchingPlan, contexts: Contexts | None = None) -> ItmOutput:
        """Match B pairs, and with their hard negatives.

        Args:
            pairs: features of the pairs, followed by those of other pairs that the plan's rows count on from B.
            plan: the negatives, as rows of ``pairs``.
            contexts: projections of pairs.text and pairs.image that other objectives use too.
        """
        image_rows, text_rows, labels, valid = matching_rows(plan.negatives, plan.is_pair)
        known = (None, None) if contexts is None else (contexts.text(pairs.text), contexts.image(pairs.image))
        logits = self.match(pairs.image, pairs.text, pairs.padding_mask, image_rows, text_rows, *known)
        return ItmOutput(logits, labels, valid, plan.scale)

    def forward(
        self,
        images: Tensor,
        tokens: Tensor,
        image_ids: Tensor,
        masked_tokens: Tensor,
        mlm_positions: Tensor,
        block_mask: Tensor,
        objectives: Collection[str] = OBJECTIVES,
        capacity: int | None = None,
    ) -> PretrainingOutput:
        """Everything the wanted objectives need, and no more.

        Args:
            images: (B, 3, H, W) uint8.
            tokens: (B, L) int64, the whole captions, padded.
            image_ids: (B,) int64, equal for pairs of the same image; NO_PAIR for a row that is not a pair.
            masked_tokens: (B, L) int64, the captions with masked words.
            mlm_positions: (M,) int64, row * L + column of the words to predict.
            block_mask: (B, R, R) bool, True = block of pixels masked.
            objectives: of "mlm", "mim", "itc", "itm".
            capacity: most pairs that any rank's batch has, for negatives of all ranks; see distributed.padded_rows().
        """
        pixels = self.normalize(images)
        image_mask = self.patch_mask(block_mask)
        padding_mask = tokens.eq(self.padding_idx)
        views = needed_views(objectives, self.cfg.mask_both)
        features = self.encode_views(pixels, image_mask, tokens, masked_tokens, views)
        contexts = Contexts(self.fusion)
        output = self.predict_masked(features, pixels, image_mask, padding_mask, mlm_positions, objectives, contexts)
        if not {"itc", "itm"} & set(objectives):
            return output
        itc, itm = self.embed(features.image, features.text), None
        if "itm" in objectives:
            pairs = WholePairs(features.image, features.text, padding_mask)
            plan = plan_matching(itc, image_ids, tokens.size(1), self.cfg.global_negatives, capacity)
            if plan.exchange is None:
                itm = self.judge(pairs, plan, contexts)
            else:
                itm = self.judge(pairs.followed_by(plan.fetch(pairs)), plan)
        return output._replace(itc=itc, itm=itm)
