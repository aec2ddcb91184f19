"""A trained model for use in Python: images and words in, vectors, probabilities, words and pictures out."""

from .loading import load
from .model import VisionLanguageModel

__all__ = ["VisionLanguageModel", "load"]
