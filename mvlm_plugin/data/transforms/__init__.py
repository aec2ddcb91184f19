"""Image pipelines: named operations, written in a row as ``decode|random_resized_crop(224)|flip``."""

from . import augmentation, geometry  # noqa: F401  (register their operations)
from .operations import Draw, register_image_operation
from .pipeline import Pipeline, default_eval_transform, default_train_transform

__all__ = ["Draw", "Pipeline", "default_eval_transform", "default_train_transform", "register_image_operation"]
