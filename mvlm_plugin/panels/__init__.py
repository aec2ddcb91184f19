"""What TensorBoard shows of a training beside fairseq's scalars: pictures, word predictions, gradient norms, gains."""

from .options import PanelConfig
from .panels import Panels

__all__ = ["PanelConfig", "Panels"]
