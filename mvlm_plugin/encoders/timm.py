"""Backbones of timm by name: ``timm:NAME`` is any of its plain vision transformers, with a mask token added.

Nothing is downloaded: a backbone starts from random weights, or from the file that --image-encoder-weights names.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..modules.pixels import DEVIATION, MEAN, PixelRescaling
from ..registry import IMAGE_ENCODERS, did_you_mean

if TYPE_CHECKING:
    from ..models.config import MvlmConfig

FAMILY = "timm"


class TimmEncoder(nn.Module):
    """A vision transformer of timm as an image encoder.

    Patches are masked between the backbone's patch embedding and its position embedding. Of the tokens before the
    patches ([CLS], distillation, registers) the first is token 0; where there is none, the mean of the patches is.

    Args:
        model: the backbone, built without a head; see build_timm for what it must be like.
        prefix_tokens: tokens before the patches in what ``forward_features`` gives.
        mean, deviation: of red, green and blue, as the backbone's weights were trained with (fractions of full
            brightness). Images come normalised with ImageNet's and are brought to these.
    """

    weights_format = "timm"

    def __init__(
        self,
        model: Any,
        prefix_tokens: int,
        mean: tuple[float, float, float] = MEAN,
        deviation: tuple[float, float, float] = DEVIATION,
    ) -> None:
        super().__init__()
        self.model = model
        self.prefix_tokens = prefix_tokens
        self.patch_size: int = model.patch_embed.patch_size[0]
        self.width: int = model.patch_embed.proj.out_channels
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.rescale = PixelRescaling(mean, deviation)
        self._image_mask: Tensor | None = None
        model.patch_embed.register_forward_hook(self._replace_masked)

    def _replace_masked(self, module: nn.Module, args: tuple[Any, ...], x: Tensor) -> Tensor:
        """Patch embeddings (B, P, width) -> (K * B, P, width), the masked ones replaced."""
        if self._image_mask is None:
            return x
        x = x.repeat(self._image_mask.size(0) // x.size(0), 1, 1)
        return torch.where(self._image_mask[..., None], self.mask_token.to(x.dtype), x)

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """Encode images, whole or masked.

        Args:
            images: (B, 3, H, W) float, normalised with ImageNet's mean and deviation.
            image_mask: (K * B, P) bool, True = patch replaced by the mask token, K views an image; None: whole.

        Returns:
            Tensor of shape (K * B, P + 1, width); token 0 is a global one.
        """
        self._image_mask = image_mask
        try:
            x = self.model.forward_features(self.rescale(images))
        finally:
            self._image_mask = None
        patches = x[:, self.prefix_tokens :]
        first = x[:, :1] if self.prefix_tokens else patches.mean(dim=1, keepdim=True)
        return torch.cat([first, patches], dim=1)

    def convert_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint of the backbone (timm's own names) as a state dict of this module.

        timm's own filter of the backbone's family renames what older checkpoints call otherwise, and resamples
        position embeddings to the image size. Entries of a head are left out, as the backbone has none; the norm after
        the pooling (``fc_norm``) is taken where the backbone lacks the one before it. The mask token is not in it.
        """
        family = sys.modules[type(self.model).__module__]
        convert = getattr(family, "checkpoint_filter_fn", None)
        state = dict(convert(state, self.model) if convert else state)
        own = self.model.state_dict().keys()
        if "norm.weight" in own and "norm.weight" not in state:
            state = {name.replace("fc_norm.", "norm.", 1): value for name, value in state.items()}
        heads = ("head.", "head_dist.", "attn_pool.", "fc_norm.")
        return {f"model.{name}": value for name, value in state.items() if name in own or not name.startswith(heads)}


def import_timm() -> ModuleType:
    """timm.

    Raises:
        ImportError: it is not installed, or it cannot be imported because torch and torchvision do not fit.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ImportError("--image-encoder timm:NAME needs timm: pip install 'mvlm-plugin[timm]'") from error
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        raise ImportError(
            f"timm imports torchvision, and torchvision {version('torchvision')} does not fit torch "
            f"{torch.__version__}: install both from the same index, e.g. pip install --force-reinstall "
            "--no-deps torchvision --index-url https://download.pytorch.org/whl/cpu"
        ) from error
    return timm


def refuse(name: str, reason: str) -> ValueError:
    """The error for a backbone that cannot be an image encoder."""
    return ValueError(
        f"--image-encoder {FAMILY}:{name} cannot be masked patch by patch: {reason}; "
        "choose a plain vision transformer, e.g. timm:vit_small_patch16_224"
    )


def count_prefix_tokens(name: str, model: Any) -> int:
    """Tokens before the patches of a backbone that lies on the meta device.

    Raises:
        ValueError: the backbone is not a sequence of the patches of one square grid from its first to its last layer.
    """
    embedding: Any = getattr(model, "patch_embed", None)
    projection = getattr(embedding, "proj", None)
    if not isinstance(projection, nn.Conv2d) or hasattr(embedding, "backbone"):
        raise refuse(name, f"{type(model).__name__} has no plain patch embedding, it is convolutional or a hybrid")
    if not hasattr(model, "blocks"):
        raise refuse(name, f"{type(model).__name__} is hierarchical, its patches are merged on the way")
    size = tuple(projection.kernel_size)
    if projection.stride != size or any(projection.padding):
        raise refuse(name, "its patches overlap")
    if size[0] != size[1]:
        raise refuse(name, f"its patches are not square ({size[0]} x {size[1]})")
    side = 2 * size[0] if embedding.img_size is None else embedding.img_size[0]
    images = torch.empty(1, 3, side, side, device="meta")
    patches = (side // size[0]) ** 2
    if tuple(embedding(images).shape) != (1, patches, projection.out_channels):
        raise refuse(name, "its patch embedding does not give a sequence of patches")
    features = model.forward_features(images)
    if features.dim() != 3 or features.size(1) < patches or features.size(2) != projection.out_channels:
        raise refuse(name, f"its {patches} patches become features of shape {tuple(features.shape[1:])}")
    return features.size(1) - patches


def build_timm(name: str, cfg: "MvlmConfig") -> TimmEncoder:
    """A backbone of timm for the config's image size, with random weights and without a head.

    Args:
        name: as in ``timm.list_models()``, with or without the tag of its weights. The tag says with which mean and
            deviation of pixels they were trained.
        cfg: the model config; its dropout is not used, the backbone keeps timm's.

    Raises:
        ImportError: timm is not installed or cannot be imported.
        ValueError: timm has no such backbone, or it is not a plain vision transformer, or the image size does not
            fit its patches.
    """
    timm = import_timm()
    if not timm.is_model(name.split(".")[0]):
        hint = did_you_mean(name.split(".")[0], timm.list_models(), count=3)
        raise ValueError(f"timm {timm.__version__} has no backbone {name!r}; timm.list_models() lists them.{hint}")
    with torch.device("meta"):
        unsized = timm.create_model(name, pretrained=False, num_classes=0)
        prefix_tokens = count_prefix_tokens(name, unsized)
    # Without pooling the norm comes before it, on every token. Distilled models pool in no other way than their own.
    options = {} if hasattr(unsized, "dist_token") else {"global_pool": ""}
    model = timm.create_model(name, pretrained=False, num_classes=0, img_size=cfg.image_size, **options)
    if hasattr(model, "fc_norm"):
        model.fc_norm = nn.Identity()  # of a head only, it would get no gradient
    patch_size = model.patch_embed.patch_size[0]
    if cfg.image_size % patch_size:
        raise ValueError(f"image size {cfg.image_size} is not divisible by the patch size {patch_size} of timm:{name}")
    return TimmEncoder(model, prefix_tokens, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])


IMAGE_ENCODERS.register_family(FAMILY)(build_timm)
