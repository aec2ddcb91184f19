"""What keeps a training run from going wrong in silence: updates that are not finite, images that cannot be read."""

from .options import GuardConfig
from .training import TrainingGuard, guard_trainers

__all__ = ["GuardConfig", "TrainingGuard", "guard_trainers"]
